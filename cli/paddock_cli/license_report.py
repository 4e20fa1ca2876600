"""The license report, for people (HTML), for spreadsheets (CSV) and for programs (JSON)."""

import csv
import html
import io
from collections.abc import Iterable, Mapping
from typing import Any

from paddock_cli.active_users import near_thresholds
from paddock_cli.output import moment

Section = tuple[str, tuple[str, ...], list[tuple[Any, ...]]]
"""Title, columns, rows."""

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1b1f24}"
    "table{border-collapse:collapse;width:100%;margin:.5rem 0 2rem}"
    "th,td{text-align:left;border-bottom:1px solid #d0d7de;padding:.3rem .6rem;vertical-align:top}"
    "td{overflow-wrap:anywhere}"
    "h1{margin-bottom:0}code{font-size:.9em}"
)


def sections(report: Mapping[str, Any]) -> list[Section]:
    """The report as tables."""
    return [
        ("Texts", ("text", "bytes", "words"), [(r, d["raw"], d["canonical"]) for r, d in report["texts"].items()]),
        (
            "Acceptances",
            (
                "id",
                "entity",
                "role",
                "signatory",
                "link from",
                "country",
                "accepted",
                "state",
                "ended",
                "reason",
                "words",
            ),
            [
                (
                    *(item[name] for name in ("id", "entity", "role", "signatory", "link_issued_by", "jurisdiction")),
                    moment(item["at"]),
                    item["state"],
                    moment(item["ended_at"]),
                    item["ended_reason"],
                    item["digests"]["agreement"]["canonical"],
                )
                for item in report["acceptances"]
            ],
        ),
        (
            "Statements of monthly active users",
            ("id", "entity", "month", "band", "figure", "method", "made", "corrects"),
            [
                (
                    *(item[name] for name in ("id", "entity", "month", "band", "value", "method")),
                    moment(item["at"]),
                    item["corrects"],
                )
                for item in report["statements"]
            ],
        ),
        (
            "Grants",
            ("id", "entities", "models", "from", "to", "state", "reviews", "document"),
            [
                (
                    item["id"],
                    ", ".join((item["entity"], *item["affiliates"])),
                    ", ".join(item["models"]) or "all",
                    moment(item["valid_from"]),
                    moment(item["valid_to"]),
                    item["state"],
                    item["reviews"],
                    item["document_sha256"],
                )
                for item in report["grants"]
            ],
        ),
        (
            "Served",
            ("tenant", "deployment", "model", "requests", "input tokens", "output tokens"),
            [tuple(item.values()) for item in report["served"]],
        ),
        (
            "Active users that the platform counted",
            ("entity", "at least", "at most", "tenants", "threshold", "share", "warning"),
            list(near_thresholds(report["active_users"])),
        ),
        (
            "Shown by the platform",
            ("model", "at", "copies of its weights"),
            [(item["model"], ", ".join(item["at"]), item["files"]) for item in report["shown"]],
        ),
        (
            "Expires next",
            ("what", "id", "entity", "at"),
            [(item["what"], item["id"], item["entity"], moment(item["at"])) for item in report["expires_next"]],
        ),
    ]


def as_csv(report: Mapping[str, Any]) -> str:
    """One table: a section's name before each row, its columns before its first."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    for title, columns, rows in sections(report):
        writer.writerow(("section", *columns))
        writer.writerows([(title, *map(_cell, row)) for row in rows])
    return file.getvalue()


def as_html(report: Mapping[str, Any]) -> str:
    """A page that stands alone."""
    title = f"{report['title']}, {report['month']}"
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{_text(title)}</title><style>{_STYLE}</style>",
        f"<main><h1>{_text(report['title'])}</h1><p>Report for {_text(report['month'])} (UTC)</p>",
        f"<p>To be shown: {_text('; '.join(report['attribution']) or 'nothing')}</p>",
        f"<p>Notice: {_text(report['notice'] or 'none')}</p>",
    ]
    for name, columns, rows in sections(report):
        parts.append(f"<h2>{_text(name)}</h2>")
        parts.append(_table(columns, rows) if rows else "<p>None.</p>")
    return "\n".join([*parts, "</main></html>"]) + "\n"


def _table(columns: Iterable[str], rows: Iterable[tuple[Any, ...]]) -> str:
    head = "".join(f"<th scope=col>{_text(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _text(value: Any) -> str:
    return html.escape("" if value is None else str(value))


def _cell(value: Any) -> Any:
    """Text that a spreadsheet would take for a formula is marked as text."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t") else value
