"""A gateway as a process of its own, in a test's world."""

import asyncio
import os
import sys
from typing import Any

import httpx


def environment(world: Any) -> dict[str, str]:
    """The settings of the world's gateway, as a process gets them."""
    settings = world.settings
    names = ("port", "metrics_port", "internal_port", "controlplane_url", "internal_token_file", "platform_key_file")
    names += ("kubeconfig", "journal_dir", "cache_dir", "instance", "ship_linger_seconds")
    chosen = {f"PADDOCK_GATEWAY_{name.upper()}": str(getattr(settings, name)) for name in names}
    return {"PATH": os.environ["PATH"], **chosen}


async def start(world: Any, **extra: str) -> asyncio.subprocess.Process:
    """Start it, until it is ready; `extra` are settings of another one."""
    log = (world.folder / "gateway.log").open("ab")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "paddock_gateway.main", env={**environment(world), **extra}, stderr=log
    )
    log.close()
    port = extra.get("PADDOCK_GATEWAY_PORT", world.settings.port)
    async with httpx.AsyncClient() as http:
        for _ in range(1200):
            assert process.returncode is None, (world.folder / "gateway.log").read_text()
            try:
                if (await http.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200:
                    return process
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)
    raise AssertionError((world.folder / "gateway.log").read_text())
