"""The demonstration: the whole product does its job once, on real parts, told step by step."""

from paddock_local.demo.story import run

__all__ = ["run"]
