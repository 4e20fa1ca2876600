"""Countries and areas."""

import pytest
from paddock_core.catalog.areas import countries, known_countries


def test_every_official_code_is_known_and_only_those() -> None:
    assert len(known_countries()) == 249
    assert all(len(code) == 2 and code.isalpha() and code.isupper() for code in known_countries())
    assert known_countries().isdisjoint({"UK", "EU", "EL", "XK", "AN", "AA", "ZZ"})
    assert "NO" in known_countries(), "Norway is no falsehood of YAML"


def test_the_areas_hold_known_countries() -> None:
    union, area = countries(names=("EU",)), countries(names=("EEA",))
    assert area - union == {"NO", "IS", "LI"}
    assert union < area < known_countries()
    assert len(union) == 27 + 7


@pytest.mark.parametrize("names", [("DE",), ("EU", "CH"), ()])
def test_a_name_that_is_no_area_is_a_country(names: tuple[str, ...]) -> None:
    assert set(names) - {"EU"} <= countries(names=names)
    assert ("FR" in countries(names=names)) is ("EU" in names)
