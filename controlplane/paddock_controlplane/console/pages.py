"""Rendering: one environment, the headers that every page carries, and the receipt as a file of its own."""

import base64
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from fastapi import Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from paddock_controlplane.licensing.receipts import ReceiptDocument

_HERE = Path(__file__).parent
STYLE = (_HERE / "assets" / "style.css").read_text(encoding="utf-8")
ICON = (_HERE / "assets" / "icon.svg").read_text(encoding="utf-8")

_SECURE = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
_POLICY = (
    "default-src 'none'; style-src {style}; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

ROLES = {
    "operator": "operator, who runs this platform",
    "deployer": "deployer, who runs the model for its own applications",
    "consumer": "consumer, who calls a model that another entity runs",
}
TEXTS = {"agreement": "License agreement", "aup": "Acceptable-use policy"}
STATES = {
    "active": "in force",
    "pending_grant": "waiting for a grant of the licensor",
    "superseded": "replaced by a later acceptance",
    "revoked": "revoked",
    "suspended": "suspended",
    "terminated": "terminated",
}


def page(template: str, *, status: int = 200, headers: Mapping[str, str] | None = None, **context: object) -> Response:
    """A page of the console."""
    return Response(
        _environment.get_template(template).render(context),
        status_code=status,
        media_type="text/html",
        headers={**_SECURE, "content-security-policy": _POLICY.format(style="'self'"), **(headers or {})},
    )


def receipt_file(receipt: ReceiptDocument) -> Response:
    """A receipt that carries its own style, so that it can be kept as one file."""
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    content = _environment.get_template("receipt.html").render(
        receipt=receipt, style=STYLE, just_signed=False, form_token=None
    )
    policy = _POLICY.format(style=f"'sha256-{digest}'")
    return Response(content, media_type="text/html", headers={**_SECURE, "content-security-policy": policy})


def wants_html(accept: str) -> bool:
    """True if an Accept header puts HTML before JSON."""
    weights = {"text/html": 0.0, "application/json": 0.0}
    for part in accept.lower().split(","):
        media, *parameters = (piece.strip() for piece in part.split(";"))
        if media in weights:
            weights[media] = next((_weight(item[2:]) for item in parameters if item.startswith("q=")), 1.0)
    return weights["text/html"] > weights["application/json"]


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%-d %B %Y, %H:%M:%S UTC")


def _month(text: str) -> str:
    return datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC).strftime("%B %Y")


def _day(text: str) -> str:
    return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).strftime("%-d %B %Y")


def _number(count: int) -> str:
    return f"{count:,}"


_environment = Environment(
    loader=FileSystemLoader(_HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters.update(moment=_moment, month=_month, day=_day, number=_number)
_environment.globals.update(role_words=ROLES, text_words=TEXTS, state_words=STATES, style=None)
