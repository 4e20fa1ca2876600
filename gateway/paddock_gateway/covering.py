"""Whether budgets cover an answer as it grows."""

from paddock_gateway.admit import Admitted
from paddock_gateway.engine_events import Chunk
from paddock_gateway.wiring import Wiring


class Covering:
    """Of one request: its reservation grows with its answer."""

    __slots__ = ("_admitted", "_wiring")

    def __init__(self, *, wiring: Wiring, admitted: Admitted) -> None:
        self._wiring = wiring
        self._admitted = admitted

    async def of(self, chunks: list[Chunk], *, made: int) -> list[Chunk]:
        """As many of the chunks as the budgets cover, which are extended as the answer grows.

        What they do not cover is neither sent nor billed, so no budget is passed; the answer ends there. `made`: tokens
        of the answer before them.
        """
        reservation, leases = self._admitted.reservation, self._wiring.leases
        if not reservation.plan.budgets:
            return chunks
        step, cap = self._wiring.settings.extension_tokens, self._admitted.output_cap
        total = made
        for index, chunk in enumerate(chunks):
            total += chunk.num_output_tokens or 0
            lacking = total - reservation.output_reserved
            if lacking > 0:
                more = max(lacking, min(step, cap - reservation.output_reserved))
                if not await leases.extend(reservation, output_tokens=more, nano=self._nano_of_more(more)):
                    return chunks[:index]
        left = reservation.output_reserved - total
        if left <= step // 4 and reservation.output_reserved < cap:
            more = min(step, cap - reservation.output_reserved)
            leases.extend_ahead(reservation, output_tokens=more, nano=self._nano_of_more(more))
        return chunks

    def _nano_of_more(self, tokens: int) -> int:
        """What covering so many tokens more adds to the price reserved."""
        admitted = self._admitted
        given, covered = admitted.intent.input_tokens, admitted.reservation.output_reserved + tokens
        return admitted.nano(input_tokens=given, output_tokens=covered) - admitted.reservation.nano
