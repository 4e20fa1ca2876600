"""The clock of tests in which no time passes by itself."""


class Clock:
    """Both clocks of the operator, in seconds: they stand still until a test moves them."""

    def __init__(self) -> None:
        self.boot = 1000.0
        self.wall = 1_800_000_000.0

    def now(self) -> float:
        """The wall clock."""
        return self.wall

    def boottime(self) -> float:
        """The one that counts on, whatever the wall clock is set to."""
        return self.boot
