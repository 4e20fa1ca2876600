"""Secrets of a stack: one file each, mode 0600, made once."""

import secrets

from paddock_local.certificates import write_private
from paddock_local.paths import StackPaths

TOKEN_BYTES = 32
NAMES = ("admin-token", "internal-token", "platform-key", "audit-key", "postgres-password")


def prepare(paths: StackPaths) -> None:
    """Make every secret that is not there."""
    for name in NAMES:
        file = paths.secret(name)
        if not file.is_file():
            write_private(file, secrets.token_hex(TOKEN_BYTES).encode())


def read(paths: StackPaths, name: str) -> str:
    """The secret itself."""
    return paths.secret(name).read_text(encoding="ascii")
