"""One module a kind of clause. A module names the clause types it judges in `TYPES` and has `check(case)`.

Adding a kind is adding a file here: the table below is made from the folder. A type that no module judges denies.
"""

import pkgutil
from collections.abc import Callable
from importlib import import_module

from paddock_core.licensing.case import Case, Verdict

Check = Callable[[Case], Verdict]


def _found() -> dict[str, Check]:
    checks: dict[str, Check] = {}
    for info in pkgutil.iter_modules(__path__):
        module = import_module(f"{__name__}.{info.name}")
        for clause_type in module.TYPES:
            if clause_type in checks:
                raise ImportError(f"two modules judge clauses of type {clause_type}")
            checks[clause_type] = module.check
    return checks


CHECKS: dict[str, Check] = _found()
"""Clause type to its check."""
