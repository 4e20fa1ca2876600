"""docs/dependencies.md names exactly what pyproject.toml names, and the lock names no index."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_each_dependency_has_its_reason():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    declared = {re.split(r"[\[><=;]", requirement)[0] for group in groups for requirement in group}
    rows = re.findall(
        r"^\| ([a-z0-9-]+) \| (?!license)[^|]+ \| [^|]{4,} \|$", (ROOT / "docs" / "dependencies.md").read_text(), re.M
    )
    assert sorted(rows) == sorted(declared)


def test_every_locked_package_has_a_hash_and_no_address():
    for name in ("requirements.txt", "carriers.txt", "go.txt"):
        lines = (ROOT / "requirements" / name).read_text().splitlines()
        assert not [line for line in lines if "://" in line]
        pinned = [index for index, line in enumerate(lines) if re.match(r"[a-z0-9].*==", line)]
        assert pinned
        assert all("--hash=sha256:" in lines[index + 1] for index in pinned)
