"""Addresses for pods: every pod has one of the stack's own loopback subnet, which needs no set-up on Linux."""

HOSTS = 250


class Addresses:
    """Hands out `prefix.x.y`, each at most once at a time and as late again as possible."""

    def __init__(self, prefix: str, *, taken: set[str], last: int = 0) -> None:
        self._prefix = prefix
        self._taken = set(taken)
        self.last = last

    def take(self) -> str:
        """A free address.

        Raises RuntimeError when all 62,500 are in use.
        """
        for _ in range(HOSTS * HOSTS):
            self.last = self.last % (HOSTS * HOSTS) + 1
            high, low = divmod(self.last - 1, HOSTS)
            address = f"{self._prefix}.{high + 1}.{low + 1}"
            if address not in self._taken:
                self._taken.add(address)
                return address
        raise RuntimeError("every pod address of this node is in use: delete some pods")

    def give_back(self, address: str) -> None:
        """The pod is gone."""
        self._taken.discard(address)
