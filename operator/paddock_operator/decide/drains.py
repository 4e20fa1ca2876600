"""May a copy that gets no new requests be deleted, by what gateways were told and say?"""

from collections.abc import Iterable

from paddock_operator.decide.copies import Copy, pod_url
from paddock_operator.decide.draining import Drain, drained
from paddock_operator.decide.outcome import Config
from paddock_operator.gateways import GatewayView
from paddock_operator.observed import Child, Observed


def judge(observed: Observed, config: Config, copy: Copy) -> Drain:
    """Of a copy that bears the mark of a drain."""
    since, told = copy.draining_since, observed.live.status.routing
    if since is None:
        return Drain(over=False)
    urls = {copy.url} - {""}
    if not urls:
        return Drain(over=True)
    if told is not None and any(endpoint.url in urls for target in told.targets for endpoint in target.endpoints):
        # Gateways have not been told yet.
        return Drain(over=False, note="the routing is about to be told", look_after_seconds=1.0)
    if not observed.gateways.configured:
        return of_told(observed, config, copy)
    return drained(
        urls=urls,
        digest="" if told is None else told.digest,
        since=since,
        now=observed.now,
        limit_seconds=config.drain_limit_seconds,
        gateways=observed.gateways,
    )


def of_told(observed: Observed, config: Config, copy: Copy) -> Drain:
    """The same where only that gateways hear of it is waited for, and not the requests that they have."""
    if copy.draining_since is None:
        return Drain(over=False)
    left = copy.draining_since + config.drain_seconds - observed.now
    return Drain(over=left <= 0, look_after_seconds=max(left, 0.1))


def unasked(observed: Observed, pods: Iterable[Child]) -> list[Child]:
    """Those of the pods to which no request goes any more: gateways were told so, and those that answer follow it and
    have none there. What others have there ends within the pod's grace."""
    told = observed.live.status.routing
    known = {end.url for target in (told.targets if told else ()) for end in target.endpoints}
    digest, views = "" if told is None else told.digest, observed.gateways.fresh
    urls = ((pod, pod_url(pod)) for pod in pods)
    return [pod for pod, url in urls if url not in known and not any(_asks(view, url, digest) for view in views)]


def _asks(view: GatewayView, url: str, digest: str) -> bool:
    signal = view.signal
    return bool(url) and signal is not None and (signal.routing != digest or signal.endpoints.get(url, 0) > 0)
