"""What the metrics tell of the process's parts, asked when they are read."""

from collections.abc import Callable

from paddock_gateway.deployments import Routes
from paddock_gateway.engine import Engine
from paddock_gateway.holding import HoldQueue
from paddock_gateway.journal import Journal
from paddock_gateway.leases import Leases
from paddock_gateway.policy import PolicyFollower
from paddock_gateway.ship import Shipper


def gauges(
    *,
    policy: PolicyFollower,
    journal: Journal,
    routes: Routes,
    shipper: Shipper,
    leases: Leases,
    engine: Engine,
    held: HoldQueue,
) -> dict[str, Callable[[], float]]:
    """Each gauge by its name."""
    return {
        "paddock.gateway.policy.age": policy.age,
        "paddock.gateway.policy.revision": lambda: float(policy.view.revision),
        "paddock.gateway.requests.held": lambda: float(len(held)),
        "paddock.gateway.requests.open": lambda: float(journal.open_requests),
        "paddock.gateway.journal.failures": lambda: float(journal.failures),
        "paddock.gateway.journal.damaged": lambda: float(journal.damaged),
        "paddock.gateway.engine_counts.doubted": lambda: float(engine.doubted),
        "paddock.gateway.quota.cut_off": lambda: float(leases.cut_off),
        "paddock.gateway.quota.refused_cut_off": lambda: float(leases.refused_cut_off),
        "paddock.gateway.quota.accounts": lambda: float(len(leases.holdings.accounts)),
        "paddock.gateway.routes": lambda: float(len(routes.by_name)),
        "paddock.gateway.records.shipped": lambda: float(shipper.shipped),
        "paddock.gateway.records.refused": lambda: float(len(shipper.refused)),
        "paddock.gateway.active_users.sketches": lambda: float(len(shipper.users)),
        "paddock.gateway.active_users.uncounted": lambda: float(shipper.users.uncounted),
    }
