"""/healthz, /readyz and /metrics. Alive means progress, not an open port: a watch that fell silent is a failure."""

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

Check = Callable[[], str | None]
"""None if all is well, else what is wrong."""


class Health:
    """Checks by name, and the server that tells them."""

    def __init__(self) -> None:
        self._alive: dict[str, Check] = {}
        self._ready: dict[str, Check] = {}

    def alive(self, name: str, check: Check) -> None:
        """Add a check whose failure asks for a restart."""
        self._alive[name] = check

    def ready(self, name: str, check: Check) -> None:
        """Add a check whose failure will pass by itself."""
        self._ready[name] = check

    def unready(self) -> dict[str, str]:
        """What keeps this instance from being ready, by the name of the check: what is not alive is not ready."""
        return _problems({**self._alive, **self._ready})

    async def serve(self, *, host: str, port: int) -> web.AppRunner:
        """Start listening; the caller cleans the runner up."""
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", _metrics)
        runner = web.AppRunner(app, handle_signals=False, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, host, port).start()
        return runner

    async def _healthz(self, _request: web.Request) -> web.Response:
        return _answer(_problems(self._alive))

    async def _readyz(self, _request: web.Request) -> web.Response:
        return _answer(self.unready())


def _problems(checks: dict[str, Check]) -> dict[str, str]:
    return {name: problem for name, check in checks.items() if (problem := check()) is not None}


def _answer(problems: dict[str, str]) -> web.Response:
    return web.json_response({"ok": not problems, "problems": problems}, status=503 if problems else 200)


async def _metrics(_request: web.Request) -> web.Response:
    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
