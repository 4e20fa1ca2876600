"""Run the whole product on this machine."""

from paddock_cli.local import app

__all__ = ["app"]
