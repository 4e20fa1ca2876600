"""Copies that answer on a node with a broken GPU: when each leaves."""

from collections.abc import Collection

from paddock_operator.decide.copies import Copy
from paddock_operator.decide.outcome import Config
from paddock_operator.decide.seen import Seen
from paddock_operator.observed import Observed
from paddock_operator.times import parse_time


def leaving(observed: Observed, config: Config, seen: Seen, *, wanted: int, drained: Collection[str]) -> frozenset[str]:
    """Names of those that get no more requests from now on. As many of the others stay as are missing of the `wanted`
    ones without them: what answers is worth more than what is still to come. `drained` are taken away anyhow."""
    movers = [copy for copy in seen.copies if seen.moves(copy.name)]
    sound = [copy for copy in seen.routable if copy.endpoint and not copy.going and not seen.moves(copy.name)]
    elsewhere = sum(1 for copy in sound if not copy.draining and copy.name not in drained)
    since = observed.now - config.healing.moving_seconds
    patient = [copy for copy in movers if not copy.draining and not copy.going and _told_at(seen, copy) > since]
    # Those that were asked lately go on before those of which it is only known that they are ready.
    patient.sort(key=lambda copy: (copy.answering is not True, copy.name))
    stay = {copy.name for copy in patient[: max(0, wanted - elsewhere)]}
    return frozenset(copy.name for copy in movers if copy.name not in stay)


def _told_at(seen: Seen, copy: Copy) -> float:
    """Since when its node is known to be bad."""
    record = seen.verdicts[copy.name].record
    return 0.0 if record is None or record.evidence is None else parse_time(record.evidence.at)
