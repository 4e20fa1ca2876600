"""The package of decisions says what each of its modules is for."""

import re
from pathlib import Path

import paddock_operator.decide


def test_every_module_of_the_decision_is_on_its_map() -> None:
    text = paddock_operator.decide.__doc__ or ""
    folder = Path(paddock_operator.decide.__file__).parent
    modules = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
    named = set(re.findall(r"^    (\w+)  ", text, re.MULTILINE)) | set(re.findall(r"`(\w+)`", text))
    assert modules - {"__init__"} - named - {"desired", "running"} == set()
    assert named - modules - {"_decide_live", "_decide_licensed", "_prepared", "_run"} == set()
