"""PostgreSQL of the stack, spoken to as its owner."""

import asyncio
import json
from typing import Any

import asyncpg
from paddock_local.stack import Stack


def dsn(stack: Stack) -> str:
    """As the control plane has it."""
    spec = json.loads(stack.paths.spec("controlplane").read_text())
    return str(spec["env"]["PADDOCK_CONTROLPLANE_DATABASE_URL"])


def ask(stack: Stack, statement: str, *values: Any) -> list[Any]:
    """The rows of one statement, on a connection of its own."""

    async def work() -> list[Any]:
        connection = await asyncpg.connect(dsn(stack).replace("+asyncpg", ""), timeout=10)
        try:
            return list(await connection.fetch(statement, *values))
        finally:
            await connection.close()

    return asyncio.run(work())
