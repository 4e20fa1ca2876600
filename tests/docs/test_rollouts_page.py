"""The pictures of rollouts are what the planner does today."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_pictures_are_the_present_ones() -> None:
    drawn = runpy.run_path(str(ROOT / "bench" / "rollout_picture.py"))["pictures"]()
    folder, page = ROOT / "docs" / "pictures", (ROOT / "docs" / "rollouts.md").read_text()
    assert sorted(drawn) == sorted(file.name for file in folder.glob("rollout-*.svg"))
    for name, text in drawn.items():
        assert text == (folder / name).read_text(), "run: python bench/rollout_picture.py"
        assert f"(pictures/{name})" in page
