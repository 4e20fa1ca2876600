"""The documentation says what the catalogue says."""

from pathlib import Path

from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.licensing.table import attribution_page, license_table
from paddock_core.licensing.types import Reason

DOCS = (Path(__file__).parents[3] / "docs" / "licenses.md").read_text(encoding="utf-8")
ELSEWHERE = {
    # Told by the parts themselves, or about what is not yet there.
    Reason.ALLOWED,
    Reason.MODEL_UNKNOWN,
    Reason.LICENSE_UNKNOWN,
    Reason.LICENSE_MISMATCH,
    Reason.TEXT_NOT_IMPORTED,
    Reason.OPERATOR_NOT_LICENSED,
    Reason.POLICY_EXPIRED,
}


def test_the_table_of_the_docs_is_that_of_the_catalogue() -> None:
    _, _, rest = DOCS.partition("<!-- table -->\n")
    table, marked, _ = rest.partition("<!-- /table -->")
    assert marked
    assert table == license_table(packaged_catalog()), "run `paddock license table` and put its output into the docs"


def test_the_docs_name_every_reason_of_a_clause() -> None:
    assert {reason for reason in Reason if f"`{reason.value}`" not in DOCS} == ELSEWHERE


def test_no_code_of_the_product_names_a_license() -> None:
    """Adding a license is adding a file. Chat templates have names of their own, some of them the same."""
    root = Path(__file__).parents[3]
    names = [f'"{name}"' for name in packaged_catalog().licenses if name != "paddock-demo"]
    files = [
        file for part in ("core", "operator", "controlplane", "gateway", "cli") for file in (root / part).rglob("*.py")
    ]
    judged = [file for file in files if "chat_template" not in file.name]
    assert len(judged) > 100
    for file in judged:
        text = file.read_text(encoding="utf-8")
        assert not [name for name in names if name in text], file


def test_the_attributions_in_the_docs_are_the_catalogues() -> None:
    page = (Path(__file__).parents[3] / "docs" / "attribution.md").read_text(encoding="utf-8")
    assert page == attribution_page(packaged_catalog()), "run `paddock license attribution > docs/attribution.md`"
    assert "> **Built with Meta Llama 3**" in page
    assert "> **Built with Llama**" in page
