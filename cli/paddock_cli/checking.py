"""The license decision from the command line: asked of the control plane, or made here on a file of facts."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paddock_cli.client import Client
from paddock_cli.errors import NotFoundError, UsageError

ROLES = ("operator", "deployer", "consumer", "end_user")
VERBS = ("download", "deploy", "invoke", "fine_tune", "register_adapter", "export", "distill", "publish")
LARGEST_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """The question as typed. Raises UsageError for a verb or role that there is not."""

    entity: str
    model: str
    verb: str
    role: str | None
    name: str | None
    purpose: str
    student: str | None
    at: str | None

    def __post_init__(self) -> None:
        if self.verb not in VERBS:
            raise UsageError(f"no verb {self.verb!r}", advice=f"one of {', '.join(VERBS)}")
        if self.role is not None and self.role not in ROLES:
            raise UsageError(f"no role {self.role!r}", advice=f"one of {', '.join(ROLES)}")

    def body(self, *, role: str, at: float | None) -> dict[str, Any]:
        """As the control plane and the decision function name its parts."""
        return {
            "entity": self.entity,
            "role": role,
            "verb": self.verb,
            "model": self.model,
            "purpose": self.purpose,
            "public_name": self.name,
            "student": self.student,
            "at": at,
        }


def ask_server(question: Question) -> dict[str, Any]:
    """The control plane's decision."""
    role = question.role
    if role is None:
        role = "operator" if _is_operator(question.entity) else "deployer"
    decision: dict[str, Any] = Client().post("/v1/license-checks", question.body(role=role, at=_at(question)))
    return decision


def ask_file(question: Question, path: Path) -> dict[str, Any]:
    """The decision on the facts of a file.

    Raises UsageError for a file that cannot be read as facts.
    """
    import msgspec
    from paddock_core.catalog.packaged import packaged_catalog
    from paddock_core.licensing.decide import decide
    from paddock_core.licensing.facts_file import FactsError, read_facts
    from paddock_core.licensing.types import Request, Role, Verb

    catalog = packaged_catalog()
    try:
        case = read_facts(document(path), catalog=catalog, now=time.time(), at=_at(question))
    except FactsError as error:
        raise UsageError(f"{path}: {error}", advice="what a file of facts may say: docs/facts.schema.json") from error
    role = question.role or ("operator" if question.entity == case.facts.operator else "deployer")
    body = question.body(role=role, at=case.at)
    request = Request(**{**body, "role": Role(role), "verb": Verb(question.verb), "at": case.at})
    answer: dict[str, Any] = msgspec.to_builtins(decide(request=request, facts=case.facts, catalog=catalog))
    return answer


def document(path: Path) -> Any:
    """A YAML or JSON file, parsed.

    Raises UsageError if it is neither, or too large.
    """
    import yaml

    if path.stat().st_size > LARGEST_BYTES:
        raise UsageError(f"{path} is larger than {LARGEST_BYTES} bytes", advice="split it: a case needs a few facts")
    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text) if path.suffix == ".json" else yaml.load(text, Loader=yaml.CSafeLoader)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise UsageError(f"{path} is neither YAML nor JSON: {error}", advice="see docs/licenses.md") from error


def _at(question: Question) -> float | None:
    from paddock_core.licensing.facts_file import FactsError, moment

    try:
        return None if question.at is None else moment(question.at)
    except FactsError as error:
        raise UsageError(f"--at: {error}") from error


def _is_operator(entity: str) -> bool:
    """An entity that is not there is decided on all the same: the decision says so."""
    try:
        return bool(Client().get(f"/v1/entities/{entity}")["is_operator"])
    except NotFoundError:
        return False
