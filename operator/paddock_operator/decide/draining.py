"""May a copy that gets no new requests be deleted, or is one still in it?"""

from collections.abc import Collection
from dataclasses import dataclass

from paddock_operator.gateways import Gateways, GatewayView

LOOK_SECONDS = 10.0
"""How often it is looked at meanwhile; gateways tell at once when the last request ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """Whether the copy may go, what is to be said of it, and when to look again though nothing is heard."""

    over: bool
    note: str = ""
    """What it waits for; where it is over, what was not waited for."""
    look_after_seconds: float | None = None


def drained(
    *, urls: Collection[str], digest: str, since: float, now: float, limit_seconds: float, gateways: Gateways
) -> Drain:
    """May the copy with these endpoints go?

    `urls`: base URLs of the copy's endpoints (usually one). `digest`: of the routing in the status, which has none of
    them. `since`: when the copy was marked, Unix seconds; what gateways told before does not count. `limit_seconds`:
    after so long it goes whatever is said.

    Every gateway that should be heard of must have confirmed the routing and have no request left at any of the URLs.
    Of one that has said so this stays true, whether it still answers or not: it sends nothing there any more. While
    they are only beginning to be asked, and where none was ever heard of, nobody can say it: the copy goes when the
    limit is over.
    """
    if not urls:
        return Drain(over=True)
    left = since + limit_seconds - now
    waits = [why for view in gateways.views if (why := _waits_for(view, urls, digest, since))]
    if gateways.views and gateways.settled and not waits:
        return Drain(over=True)
    nobody = "gateways are still being asked" if gateways.views else "no gateway says whether requests are left"
    note = "; ".join(waits) or nobody
    if left <= 0:
        return Drain(over=True, note=f"not waited for any longer: {note}")
    return Drain(over=False, note=note, look_after_seconds=min(left, LOOK_SECONDS))


def _waits_for(view: GatewayView, urls: Collection[str], digest: str, since: float) -> str:
    """What a gateway still has to do with the copy; empty if nothing."""
    signal = view.signal
    silent = "" if view.fresh else " (it does not answer now)"
    if view.heard_at < since or not view.synced:
        return f"{view.instance} has not been heard of since{silent}"
    if signal is None:
        return ""  # it knows no such deployment, and so sends nothing there
    if signal.routing != digest:
        return f"{view.instance} has not confirmed the routing without it{silent}"
    requests = sum(signal.endpoints.get(url, 0) for url in urls)
    return f"{view.instance} has {requests} requests left there{silent}" if requests else ""
