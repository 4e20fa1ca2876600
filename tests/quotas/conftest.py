"""Real gateways before a real control plane on a real PostgreSQL: the stage of the active users' tests."""

import importlib.util
import sys
from pathlib import Path

_PATH = Path(__file__).parents[1] / "active_users" / "conftest.py"
_SPEC = importlib.util.spec_from_file_location("conftest_of_active_users", _PATH)
assert _SPEC is not None
assert _SPEC.loader is not None
_stage = importlib.util.module_from_spec(_SPEC)
sys.modules[_SPEC.name] = _stage
_SPEC.loader.exec_module(_stage)

database, paddock, acme, key, stage = _stage.database, _stage.paddock, _stage.acme, _stage.key, _stage.stage
