"""Errors and exit codes of `paddock`, in one place.

0 done   1 it failed   2 the command line is wrong   3 denied   4 there is no such thing   5 not reachable
"""

import sys


class CliError(Exception):
    """Something to tell the person who typed the command; `advice` says what to do next."""

    code = 1

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__(message)
        self.advice = advice

    def tell(self) -> None:
        """Print it on standard error, advice on a line of its own."""
        sys.stderr.write(f"error: {self}\n")
        if self.advice:
            sys.stderr.write(f"  -> {self.advice}\n")


class UsageError(CliError):
    """The command line cannot mean anything."""

    code = 2


class DeniedError(CliError):
    """The control plane or the license forbids it, or the token is not good."""

    code = 3


class NotFoundError(CliError):
    """There is no such thing."""

    code = 4


class UnreachableError(CliError):
    """The control plane or the cluster does not answer."""

    code = 5
