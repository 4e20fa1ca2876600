"""The register of past bugs: each has a scenario that is played, and a commit that mended it."""

import re
from pathlib import Path

import pytest
import yaml
from paddock_local.paths import find_checkout

from faults.cluster.table import kinds

ROOT = find_checkout()
BUGS = yaml.safe_load((ROOT / "faults" / "bugs.yaml").read_text())


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: str(bug["scenario"]))
def test_each_past_bug_is_played(bug: dict[str, str]) -> None:
    assert set(bug) == {"bug", "scenario", "mended"}
    assert re.fullmatch("[0-9a-f]{40}", bug["mended"])
    scenario = bug["scenario"]
    assert scenario in kinds() or Path(ROOT / scenario).is_file(), f"nothing plays {scenario}"
