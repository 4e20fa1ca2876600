"""The documentation says what the catalogue says."""

import ast
import re
from pathlib import Path

import pytest
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


PRODUCT = ("core", "operator", "controlplane", "gateway", "cli", "serving")
WORDS_OF_FORMATS = {
    # Values that stand in files of weights, whoever made them: `tokenizer.ggml.pre`, `model_type`.
    "serving/paddock_serving/weights/gguf_tokenizer.py": {"llama3"},
    "serving/paddock_serving/weights/shape.py": {"bloom"},
}


def names_of_the_catalogue() -> set[str]:
    """Licenses, families and models, but for what stands in for them in the demonstration."""
    catalog = packaged_catalog()
    families = {entry.family for entry in catalog.models.values()}
    return ({*catalog.licenses, *families, *catalog.models}) - {"paddock-demo"}


def named_in(source: str) -> set[str]:
    """Which of them a text literal of a program holds, however it is quoted. Docstrings are no literals here."""
    words = "|".join(re.escape(name) for name in sorted(names_of_the_catalogue(), key=len, reverse=True))
    wanted = re.compile(f"(?<![a-z0-9])(?:{words})(?![a-z0-9])", re.IGNORECASE)
    tree = ast.parse(source)
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in prose]
    return {found.lower() for text in texts if isinstance(text, str) for found in wanted.findall(text)}


@pytest.mark.parametrize(
    "source", ["x == 'llama3.1'", 'x == "llama2"', "x.startswith('codellama')", 'f"{x} bloom"', "{'llama-7b': 1}"]
)
def test_a_name_in_a_program_is_found(source: str) -> None:
    assert named_in(source)
    assert not named_in("'llama.cpp'; x = 'LlamaDeployment llama'; y = 'paddock-demo'")


def test_no_code_of_the_product_names_a_license_a_family_or_a_model() -> None:
    """Adding one is adding a file."""
    root = Path(__file__).parents[3]
    files = [file for part in PRODUCT for file in (root / part).rglob("*.py")]
    assert {file.relative_to(root).parts[0] for file in files} == set(PRODUCT)
    found = {str(file.relative_to(root)): named_in(file.read_text(encoding="utf-8")) for file in files}
    assert {file: names for file, names in found.items() if names} == WORDS_OF_FORMATS


def test_the_attributions_in_the_docs_are_the_catalogues() -> None:
    page = (Path(__file__).parents[3] / "docs" / "attribution.md").read_text(encoding="utf-8")
    assert page == attribution_page(packaged_catalog()), "run `paddock license attribution > docs/attribution.md`"
    assert "> **Built with Meta Llama 3**" in page
    assert "> **Built with Llama**" in page
