"""Which port every listener of a stack has: a fixed offset from the stack's port base, so that two stacks coexist."""

from dataclasses import dataclass

from paddock_local.errors import LocalError

DEFAULT_BASES = {"demo": 7400, "e2e": 7500}
OTHER_BASE = 7600
# Distance between two stacks. The pod subnet follows from it too.
BLOCK = 100

OFFSETS = {
    "gateway": 0,
    "controlplane": 1,
    "apiserver": 2,
    "etcd": 3,
    "etcd_peer": 4,
    "controller_manager": 5,
    "scheduler": 6,
    "kubelet": 7,
    "kubelet_health": 8,
    "operator_webhook": 9,
    "operator_health": 10,
    "gateway_metrics": 11,
    "postgres": 12,
    "kwok": 13,
    "lws_webhook": 14,
    "lws_health": 15,
    "gateway_internal": 16,
}


@dataclass(frozen=True)
class Ports:
    """The ports of one stack, each `base` plus its offset in `OFFSETS`."""

    base: int

    def __post_init__(self) -> None:
        if not 1024 <= self.base <= 65535 - BLOCK:
            raise LocalError(f"port base {self.base} is out of range: set PADDOCK_PORT_BASE to 1024..{65535 - BLOCK}")

    def __getitem__(self, listener: str) -> int:
        return self.base + OFFSETS[listener]

    def all(self) -> dict[str, int]:
        """Every listener and its port."""
        return {name: self.base + offset for name, offset in OFFSETS.items()}

    @property
    def pod_subnet(self) -> str:
        """First two numbers of the pods' addresses: `127.<n>`. 7400 gives 127.1, 7500 gives 127.2."""
        return f"127.{1 + (self.base - DEFAULT_BASES['demo']) // BLOCK % 250}"

    @property
    def simulated_subnet(self) -> str:
        """Addresses of pods on simulated nodes: the end of the pods' subnet, which the real node never hands out."""
        return f"{self.pod_subnet}.252.0/22"


def ports_for(*, stack: str, base: int | None) -> Ports:
    """The ports of `stack`: from `base` when one was set, else the stack's default."""
    return Ports(base if base is not None else DEFAULT_BASES.get(stack, OTHER_BASE))
