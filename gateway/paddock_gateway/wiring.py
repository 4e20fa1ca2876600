"""What a request needs of the process, in one value."""

from dataclasses import dataclass

from paddock_gateway.artifacts import PromptModels
from paddock_gateway.clock import Clock
from paddock_gateway.deployments import Routes
from paddock_gateway.engine import Engine
from paddock_gateway.holding import HoldQueue
from paddock_gateway.journal import Journal
from paddock_gateway.leases import Leases
from paddock_gateway.policy import PolicyFollower
from paddock_gateway.route import LicenseGate
from paddock_gateway.settings import Settings
from paddock_gateway.signals import Signals
from paddock_gateway.telemetry import Telemetry


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """Made once at start, never changed."""

    settings: Settings
    clock: Clock
    policy: PolicyFollower
    routes: Routes
    licenses: LicenseGate
    prompt_models: PromptModels
    leases: Leases
    journal: Journal
    engine: Engine
    signals: Signals
    held: HoldQueue
    telemetry: Telemetry
    platform_key: bytes
