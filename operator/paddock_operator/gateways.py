"""What gateways say of one deployment, as a decision sees it. Pure values; `signals_book.py` puts them together."""

from dataclasses import dataclass

from paddock_core.signals import DeploymentSignal, RevisionSignal

FRESH_SECONDS = 15.0
"""A gateway that told something within so long counts as one that answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayView:
    """One gateway that answered lately or should, and what it last told of the deployment."""

    instance: str
    """Its name; its address where it never said one."""
    heard_at: float
    """When it last answered anything, Unix seconds by the operator's clock; minus infinity: it never did."""
    age_seconds: float
    """Since then, by the clock that nobody sets."""
    synced: bool
    """False while it has not listed the deployments."""
    signal: DeploymentSignal | None = None
    """None where it knows nothing of the deployment. `idle_seconds` counts up to now."""

    @property
    def fresh(self) -> bool:
        """True if it answers."""
        return self.age_seconds <= FRESH_SECONDS

    def follows(self, digest: str) -> bool:
        """True if it has said that its requests follow this routing from now on."""
        return self.synced and self.signal is not None and self.signal.routing == digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateways:
    """All gateways, and one deployment. What is asked and how it answers comes from those that answer now."""

    configured: bool = False
    """False where the operator was not told where gateways are, so that nothing can be known."""
    views: tuple[GatewayView, ...] = ()
    """Those that answered lately, by name; then those that should answer and never did, by address."""
    settled: bool = True
    """False for a moment after it began to be asked: others may be there that could not answer yet."""

    @property
    def fresh(self) -> tuple[GatewayView, ...]:
        """Those that answer."""
        return tuple(view for view in self.views if view.fresh and view.synced)

    @property
    def complete(self) -> bool:
        """True if all that are known of tell what is asked of them: no request is unknown."""
        return self.settled and bool(self.views) and len(self.fresh) == len(self.views)

    @property
    def signals(self) -> tuple[DeploymentSignal, ...]:
        """What those say of the deployment."""
        return tuple(view.signal for view in self.fresh if view.signal is not None)

    @property
    def in_flight(self) -> int:
        """Requests that are with an engine."""
        return sum(signal.in_flight for signal in self.signals)

    @property
    def held(self) -> int:
        """Requests that wait for an endpoint."""
        return sum(signal.held for signal in self.signals)

    @property
    def idle_seconds(self) -> int | None:
        """Since the last request ended at any of them; 0 while there is one, None where none remembers one."""
        if self.in_flight or self.held:
            return 0
        return min((signal.idle_seconds for signal in self.signals if signal.idle_seconds is not None), default=None)

    @property
    def revisions(self) -> tuple[RevisionSignal, ...]:
        """How each revision answered within the window: one value a gateway and revision; counts add up."""
        return tuple(revision for signal in self.signals for revision in signal.revisions)


UNKNOWN = Gateways()
"""Nobody was asked."""
