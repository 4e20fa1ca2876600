"""docs/operations.md shows every condition and reason; PADDOCK_RENEW_DOCS=1 writes the tables."""

import os
from pathlib import Path

from paddock_core.resources.reasons import packaged_reasons

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
BEGIN, END = "<!-- generated -->\n", "<!-- end -->\n"


def test_the_page_shows_the_tables() -> None:
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    wanted = f"{before}{BEGIN}{packaged_reasons().markdown()}{END}{after}"
    if os.environ.get("PADDOCK_RENEW_DOCS"):
        PAGE.write_text(wanted, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == wanted
