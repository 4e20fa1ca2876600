"""Node labels and tolerations that Kubernetes would refuse are told with what to write."""

import pytest
from paddock_core.resources.llamadeployment import PlacementSpec, Toleration
from paddock_core.resources.placement import MAX_KEY, is_key, placement_problem

DOMAIN = ".".join(["d" * 62] * 4)
LONGEST = f"{DOMAIN}dd/{'n' * 63}"


def of_labels(**labels: str) -> str | None:
    return placement_problem(PlacementSpec(node_selector=labels))


def of_toleration(**fields: str) -> str | None:
    return placement_problem(PlacementSpec(tolerations=(Toleration(key="a", operator="Exists"), Toleration(**fields))))


@pytest.mark.parametrize("key", ["gpu", "nvidia.com/gpu.product", "A_b-c.9", "n" * 63, LONGEST])
def test_a_name_or_a_domain_and_a_name_is_a_key(key: str) -> None:
    assert is_key(key)
    assert of_labels(**{key: "v"}) is None


@pytest.mark.parametrize(
    "key", ["", "-gpu", "gpu-", "n" * 64, "a/b/c", "/gpu", "NVIDIA.com/gpu", "gpu product", "gpu\n", f"d{LONGEST}"]
)
def test_anything_else_is_none(key: str) -> None:
    assert not is_key(key)
    told = of_labels(**{key: "v"})
    assert told is not None
    assert "and that is no key of a label" in told


def test_the_longest_key_is_as_long_as_is_said() -> None:
    assert len(LONGEST) == MAX_KEY


@pytest.mark.parametrize(("value", "right"), [("", True), ("H100-SXM_80.GB", True), ("v" * 63, True), ("v" * 64, False),
                                              ("a b", False), ("-a", False)])  # fmt: skip
def test_a_value_is_a_name_or_nothing(value: str, right: bool) -> None:
    told = of_labels(gpu=value)
    assert (told is None) is right
    assert right or "and that is no value of a label" in str(told)
    tolerated = of_toleration(key="gpu", operator="Equal", value=value)
    assert (tolerated is None) is right
    assert right or "tolerations[1] has the value" in str(tolerated)


def test_of_two_that_are_wrong_the_first_by_name_is_told_and_no_more_of_it_than_a_line() -> None:
    told = of_labels(**{f"{letter}{'-' * 5000}": "v" * 5000 for letter in "zamyb"})
    assert told is not None
    assert "has 'a---" in told
    assert len(told) < 400
    assert len(of_toleration(key="-" * 5000) or "") < 200
    assert len(of_toleration(key="a", value="-" * 5000) or "") < 200


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"key": "a b", "operator": "Exists"}, "has the key 'a b', which no taint can have"),
        ({}, "names no key: name the taint's, or write operator: Exists"),
        ({"operator": "Equal", "value": "v"}, "names no key"),
        ({"operator": "Exists"}, None),
        ({"operator": "Exists", "value": "v"}, "has operator: Exists and a value"),
        ({"key": "gpu", "operator": "Exists", "value": "v"}, "has operator: Exists and a value"),
        ({"key": "gpu", "operator": "Exists"}, None),
        ({"key": "gpu"}, None),
    ],
)
def test_a_toleration_is_of_a_key_and_a_value_or_of_what_exists(fields: dict[str, str], words: str | None) -> None:
    told = of_toleration(**fields)
    assert (told is None) is (words is None)
    assert (words or "") in (told or "")
