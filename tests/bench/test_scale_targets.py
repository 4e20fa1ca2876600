"""What of a thousand deployments misses its target is seen in the table, in its last line and in the exit status."""

import sys
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parents[2] / "bench"
TARGETS = ("converged", "ratio", "memory", "requests", "events", "age", "lag", "start", "files", "resync")


@pytest.fixture(scope="module")
def scale() -> Any:
    """The modules as the benchmark's own program finds them: beside itself."""
    sys.path.insert(0, str(BENCH))
    try:
        import scale as program
        import scale_parts
        import scale_table
    finally:
        sys.path.remove(str(BENCH))
    return scale_parts, scale_table, program


def test_data_are_kept_in_a_folder_that_is_made_and_never_among_others(
    scale: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["scale.py", "--keep", str(tmp_path / "new" / "one")])
    assert scale[2].arguments().keep == tmp_path / "new" / "one"
    (tmp_path / "file").touch()
    for taken in (tmp_path, tmp_path / "file"):
        monkeypatch.setattr(sys, "argv", ["scale.py", "--keep", str(taken)])
        with pytest.raises(SystemExit):
            scale[2].arguments()
        assert "name an empty folder" in capsys.readouterr().err


def figures(scale: Any, *, worse: str = "") -> tuple[list[Any], dict[str, float]]:
    """A small size whose figures matter to nobody, and one of 1,000 that meets each target, but `worse`."""
    parts, table, _ = scale
    small = parts.Result(deployments=10, converged=999.0, whole=999.0, bare=1.0, resident_mb=999.0)
    large = parts.Result(
        deployments=1000,
        converged=60.1 if worse == "converged" else 60.0,
        whole=100.1 if worse == "ratio" else 100.0,
        bare=50.0,
        resident_mb=300.0 if worse == "memory" else 299.9,
        requests={("patch", "pods"): 25_001 if worse == "requests" else 25_000},
    )
    extra = {
        table.CHILD_EVENTS: 9_999.0 if worse == "events" else 10_000.0,
        table.KEY_AGE: 5.0 if worse == "age" else 4.9,
        table.RESYNC: 2.0 if worse == "resync" else 1.9,
        table.LAG: 0.125 if worse == "lag" else 0.1,
        table.COLD_START: 60.1 if worse == "start" else 60.0,
        table.FILES: 257.0 if worse == "files" else 256.0,
    }
    return [small, large], extra


def test_nothing_is_missed_where_the_most_deployments_meet_all(scale: Any) -> None:
    results, extra = figures(scale)
    assert scale[1].missed(results, extra) == []
    assert "**no**" not in scale[1].rendered(results, extra)
    assert scale[1].rendered(results, extra).count("| yes |") == len(TARGETS)


@pytest.mark.parametrize("worse", TARGETS)
def test_each_target_can_be_missed(scale: Any, worse: str) -> None:
    results, extra = figures(scale, worse=worse)
    assert len(scale[1].missed(results, extra)) == 1
    assert scale[1].rendered(results, extra).count("**no**") == 1


def test_a_figure_that_nobody_could_take_is_missed(scale: Any) -> None:
    results, extra = figures(scale)
    assert scale[1].missed(results, {**extra, scale[1].KEY_AGE: float("nan")}) == [scale[1].KEY_AGE]


def test_a_deployment_that_does_not_say_it_is_routable_has_not_converged(scale: Any) -> None:
    serving = {"type": "Serving", "status": "True"}
    routable = {"type": "Routable", "status": "True"}

    def converged(*conditions: dict[str, str]) -> bool:
        status = {"observedGeneration": 1, "conditions": conditions}
        return bool(scale[0].converged({"metadata": {"generation": 1}, "status": status}))

    assert converged(serving, routable)
    assert not converged(serving)
    assert not converged(serving, {**routable, "status": "False"})


def test_each_status_is_told_once_in_its_order_and_forgotten_with_its_deployment(scale: Any) -> None:
    told = scale[0].Told()
    serves = [{"type": kind, "status": "True"} for kind in ("Serving", "Routable")]
    statuses: list[dict[str, Any]] = [
        {"observedGeneration": 1, "conditions": []},
        {"observedGeneration": 1, "conditions": serves},
        {"observedGeneration": 1, "conditions": serves[:1]},
    ]
    place, metadata = ("acme", "chat"), {"namespace": "acme", "name": "chat", "generation": 1}
    told.hear({"metadata": metadata, "status": {}}, False)
    for status, serving in zip(statuses, (set(), {place}, set()), strict=True):
        for _ in range(2):
            told.hear({"metadata": metadata, "status": status}, False)
            assert told.serving == serving
    assert told.statuses == {place: statuses}
    told.hear({"metadata": metadata, "status": statuses[1]}, False)
    told.hear({"metadata": metadata, "status": statuses[1]}, True)
    assert (told.statuses, told.serving) == ({}, set())
