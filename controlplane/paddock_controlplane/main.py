"""`paddock-controlplane serve`, `migrate` and `recount-active-users`."""

import asyncio
import logging
import sys
from datetime import datetime
from typing import Annotated

import typer

from paddock_controlplane import logs
from paddock_controlplane.problems import SettingsError
from paddock_controlplane.settings import Settings

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help="The Paddock control plane."
)
log = logging.getLogger("paddock_controlplane")

_DRAIN_SECONDS = 5


@app.command()
def serve() -> None:
    """Answer requests until stopped."""
    import uvicorn

    from paddock_controlplane.app import create_app

    settings = Settings()
    log.info("settings", extra=settings.masked())
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
        timeout_keep_alive=75,
        server_header=False,
    )


@app.command()
def migrate() -> None:
    """Bring the database's schema to this version. Safe to run again, and from several places at once."""
    from paddock_controlplane import migrate as migration

    settings = Settings()
    revision = asyncio.run(migration.migrate(settings.dsn()))
    log.info("schema is up to date", extra={"revision": revision})


@app.command("recount-active-users")
def recount_active_users(
    day: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="The day in UTC, 2026-11-22.")],
) -> None:
    """Count the end users of a day from the ledger's rows, and add them to what gateways have sent."""
    from paddock_controlplane.active_users import recount

    found = asyncio.run(recount.run(Settings().dsn(), day.date()))
    log.info("active users of the day were counted", extra={"rows": found.rows, "mended": found.mended})


def main() -> None:
    """Entry of the program. Exits with 2 where the settings are unusable."""
    logs.configure()
    try:
        app()
    except SettingsError as error:
        log.error("cannot start", extra={"error": str(error)})  # noqa: TRY400 - the message is for people, not a trace
        sys.exit(2)


if __name__ == "__main__":
    main()
