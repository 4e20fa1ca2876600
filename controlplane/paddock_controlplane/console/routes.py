"""The console's pages in the order in which addresses are matched: the last one takes what no other did."""

from fastapi import FastAPI

from paddock_controlplane.console import public, signing
from paddock_controlplane.console.session import Guesses


def add_pages(app: FastAPI) -> None:
    """Put the console into the application."""
    app.state.guesses = Guesses()
    app.include_router(signing.router)
    app.include_router(public.router)
    for address, endpoint in (("/console", public.top), ("/console/{rest:path}", public.nowhere)):
        app.router.routes.append(
            public.PageRoute(address, endpoint, methods=["GET"], include_in_schema=False, name=endpoint.__name__)
        )
