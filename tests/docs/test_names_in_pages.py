"""Files, settings and charts' values that the pages name are there."""

import re
from pathlib import Path

import pytest
import yaml
from paddock_controlplane.settings import Settings as ControlPlaneSettings
from paddock_gateway.settings import Settings as GatewaySettings
from paddock_operator.settings import OperatorSettings
from pydantic_settings import BaseSettings

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SETTINGS: dict[str, type[BaseSettings]] = {
    "CONTROLPLANE": ControlPlaneSettings,
    "GATEWAY": GatewaySettings,
    "OPERATOR": OperatorSettings,
}
PARTS = ("core", "operator", "controlplane", "gateway", "serving", "cli", "local")
WALK = ROOT / "docs" / "architecture.md"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_setting_that_a_page_names_is_one(page: Path) -> None:
    named = re.findall(rf"\bPADDOCK_({'|'.join(SETTINGS)})_([A-Z_]*[A-Z])\b", page.read_text())
    assert [(part, name) for part, name in named if name.lower() not in SETTINGS[part].model_fields] == []


def test_every_file_of_the_walk_is_there() -> None:
    files = {file.relative_to(ROOT).as_posix() for part in PARTS for file in (ROOT / part).rglob("*.py")}
    text = re.sub(r"`(\w+)/\.\.\./", r"`\1/paddock_\1/", WALK.read_text())
    named = set(re.findall(r"`([\w./]+\.py)`", text))
    assert len(named) > 40, "the pattern finds them"
    assert {name for name in named if not any(f"/{file}".endswith(f"/{name}") for file in files)} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_value_of_the_chart_that_a_page_names_is_one(page: Path) -> None:
    values = yaml.safe_load((ROOT / "charts" / "paddock" / "values.yaml").read_text())
    missing = []
    for name in re.findall(rf"`((?:{'|'.join(values)})\.[a-zA-Z.]+)`", page.read_text()):
        place = values
        for part in name.split("."):
            place = place.get(part) if isinstance(place, dict) else None
            if place is None:
                missing.append(name)
                break
    assert missing == []
