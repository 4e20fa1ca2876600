"""The container runtime process.

`python -m paddock_local.cri.runtime CONFIG`, CONFIG being a JSON file (see `Config`).
"""

import asyncio
import json
import logging
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import grpc

from paddock_local.cri import images, proto
from paddock_local.cri.containers import Containers
from paddock_local.cri.server import Calls, handlers
from paddock_local.cri.store import Store
from paddock_local.logs import configure

log = logging.getLogger("paddock_local.cri")
STOP_PATIENCE_S = 5.0


@dataclass(frozen=True)
class Config:
    """Where the runtime finds its things."""

    socket: str
    state: str
    messages: str
    images: str
    subnet: str
    marker: str
    values: dict[str, str]
    visible: list[str]
    hidden: list[str]


async def serve(config: Config) -> None:
    """Answer the kubelet until SIGTERM. Containers go on running after that."""
    messages = proto.load(Path(config.messages))
    store = Store(Path(config.state), messages)
    containers = Containers(store, marker=config.marker, visible=config.visible, hidden=config.hidden)
    known = images.load(Path(config.images), values=config.values)
    calls = Calls(m=messages, store=store, keeper=containers, known=known, subnet=config.subnet)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        tuple(handlers(calls, messages, name) for name in ("RuntimeService", "ImageService"))
    )
    server.add_insecure_port(f"unix://{config.socket}")
    await server.start()
    adopted = containers.adopt()
    log.info("runtime ready", extra={"socket": config.socket, "adopted": adopted, "images": sorted(known)})
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    await server.stop(STOP_PATIENCE_S)


def main() -> None:
    """Read the configuration and serve."""
    configure()
    config = Config(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    os.umask(0o077)
    # One that was killed leaves its socket behind.
    Path(config.socket).unlink(missing_ok=True)
    asyncio.run(serve(config))


if __name__ == "__main__":
    main()
