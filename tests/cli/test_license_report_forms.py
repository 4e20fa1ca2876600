"""The license report as HTML and CSV."""

import csv
import io

from paddock_cli.license_report import as_csv, as_html

REPORT = {
    "license": "l",
    "title": "A & B License",
    "month": "2026-10",
    "texts": {"agreement": {"raw": "sha256:r", "canonical": "sha256:c"}},
    "attribution": ["Built with <it>"],
    "notice": None,
    "acceptances": [
        {
            "id": "acc-1",
            "entity": "acme",
            "role": "deployer",
            "signatory": "=HYPERLINK(1)",
            "link_issued_by": "tenant:acme with admin-token:a, which platform issued",
            "jurisdiction": "US",
            "at": 0.0,
            "state": "revoked",
            "ended_at": 86400.0,
            "ended_reason": "<script>alert(1)</script>",
            "digests": {"agreement": {"raw": "sha256:r", "canonical": "sha256:c"}},
        }
    ],
    "statements": [],
    "grants": [],
    "served": [
        {"tenant": "t", "deployment": "n/d", "model": "m", "requests": 3, "input_tokens": 4, "output_tokens": 5}
    ],
    "active_users": [
        {
            "entity": "acme",
            "low": 360,
            "high": 400,
            "tenants": 2,
            "thresholds": [
                {"license": "l", "value": 700, "share_low": 0.514286, "share_high": 0.571429, "warning": 50}
            ],
        }
    ],
    "shown": [],
    "expires_next": [],
}


def test_the_page_holds_every_row_and_no_foreign_markup() -> None:
    page = as_html(REPORT)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "A &amp; B License" in page
    assert "Built with &lt;it&gt;" in page
    assert "1970-01-02 00:00:00Z" in page
    assert page.count("<table>") == 4


def test_the_table_is_read_back_and_holds_no_formula() -> None:
    rows = list(csv.reader(io.StringIO(as_csv(REPORT))))
    accepted = next(row for row in rows if row[0] == "Acceptances")
    assert accepted[:4] == ["Acceptances", "acc-1", "acme", "deployer"]
    assert accepted[4] == "'=HYPERLINK(1)"
    assert ["Served", "t", "n/d", "m", "3", "4", "5"] in rows
    counted = next(row for row in rows if row[0].startswith("Active users"))
    assert counted[1:] == ["acme", "360", "400", "2", "700", "51.4 % to 57.1 %", "may have reached 50 %"]
