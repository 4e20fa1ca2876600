"""The canonical words of a text."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.licensing.texts import canonical_digest, canonical_text, first_difference, raw_digest

ROOT = Path(__file__).parents[3]
TEXTS = ROOT.parent / "shared" / "license-texts"
RECORDED = {
    "bloom/LICENSE": "0ddd05a1bd1dfbda",
    "llama-guard-1/LICENSE": "3478ac1aa1cab7aa",
    "llama-guard-4/LICENSE": "89d123ca2fa6b2fc",
    "llama1/LICENSE": "c78ab64a83a75449",
    "llama2/LICENSE": "0629d729646c986b",
    "llama2/USE_POLICY.md": "655c761e5e4d7397",
    "llama2-alt-bytes/LICENSE": "0629d729646c986b",
    "llama3/LICENSE": "0c4140ad04f9e1aa",
    "llama3/USE_POLICY.md": "e5cb357c13364ba4",
    "llama3.1/LICENSE": "339cf4374a2ea1c8",
    "llama3.1/USE_POLICY.md": "787aae16b076437e",
    "llama3.2/LICENSE": "607fe0a86c8974c7",
    "llama3.2/USE_POLICY.md": "ea427c1b2e20e0c2",
    "llama3.3/LICENSE": "d35fd43e269fcfd1",
    "llama3.3/USE_POLICY.md": "2dcd08d9744e69ca",
    "llama4/LICENSE": "c85dd719ddfe7383",
    "llama4/USE_POLICY.md": "a2fe929d64dbfe20",
}


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("\ufeffYou  may\r\n\r\nuse it ", "You may use it"),
        ("**You** may \\`use\\` it", "You may use it"),
        ("“You’ll” use\u00a0it", '"You\'ll" use it'),
        ("use – or — copy", "use - or - copy"),
        ("[the policy](https://a.example/x) binds", "the policy binds"),
        ("<b>use</b> it<br>now", "use itnow"),
        ("royalty-\n   free", "royalty-free"),
    ],
)
def test_typography_is_not_part_of_the_words(left: str, right: str) -> None:
    assert canonical_text(left) == right
    assert canonical_digest(left) == canonical_digest(right)


@given(st.text())
def test_canonical_words_stay_as_they_are(text: str) -> None:
    once = canonical_text(text.replace("<", "").replace("[", ""))
    assert canonical_text(once) == once


def test_a_difference_is_shown_at_its_place() -> None:
    found = first_difference(expected="You may use it freely", found="You *may* not use it freely")
    assert found is not None
    assert (found.after_words, found.expected, found.found) == (2, "use it freely", "not use it freely")
    assert first_difference(expected="a  b", found="a b") is None
    longer = first_difference(expected="a b", found="a b c")
    assert longer is not None
    assert (longer.after_words, longer.expected, longer.found) == (2, "", "c")


def test_the_demonstration_texts_are_the_pinned_ones() -> None:
    folder = ROOT / "examples" / "licenses" / "paddock-demo"
    license_entry = packaged_catalog().license("paddock-demo")
    assert license_entry is not None
    for role, name in (("agreement", "LICENSE"), ("aup", "USE_POLICY.md")):
        pin = license_entry.text(role)
        content = (folder / name).read_bytes()
        assert pin is not None
        assert canonical_digest(content.decode()) == f"sha256:{pin.canonical}"
        assert raw_digest(content).removeprefix("sha256:") in pin.raw


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_published_texts_have_the_recorded_digests(name: str) -> None:
    path = TEXTS / name
    if not path.exists():
        pytest.skip("the licensors' texts are not part of the project")
    digest = canonical_digest(path.read_text())
    assert digest.startswith(f"sha256:{RECORDED[name]}")
    pinned = {pin.canonical: entry.id for entry in packaged_catalog().licenses.values() for pin in entry.texts}
    if path.parent.name in packaged_catalog().licenses:
        assert pinned[digest.removeprefix("sha256:")] == path.parent.name
