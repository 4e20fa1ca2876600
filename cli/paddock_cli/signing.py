"""How a signatory answers the questions of an offer: from options, and by asking where a person sits at a terminal."""

import sys
from dataclasses import dataclass
from typing import Any

import typer

from paddock_cli.errors import UsageError
from paddock_cli.output import moment, say

_PERSON = ("name", "title", "email", "authority")
BANDS = ("le_700m", "gt_700m")


@dataclass(slots=True, kw_only=True)
class Answers:
    """What was given on the command line; None where a question is still open."""

    name: str | None
    title: str | None
    email: str | None
    authority: str | None
    jurisdiction: str | None
    mau_band: str | None
    mau_value: int | None
    mau_current: int | None
    mau_method: str | None
    flow_down: bool | None
    agree: bool


def present(offer: dict[str, Any]) -> None:
    """Show what will be agreed, before anything is asked."""
    say(f"{offer['title']}, as {offer['role']} of {offer['entity']}")
    say(f"  agreed with {offer['licensor']}")
    say(f"  offer {offer['offer']}, open until {moment(offer['expires_at'])}")
    for role, digests in offer["digests"].items():
        say(f"  text {role}: {digests['canonical']}")
    say("Duties:")
    for duty in offer["duties"]:
        say(f"  - {duty['text']}")
    if offer.get("restrictions"):
        say("Forbidden uses, to which your users are bound too:")
    for item in offer.get("restrictions", ()):
        say(f"  - {item['id']}: {item['words']}")


def body_for(offer: dict[str, Any], answers: Answers) -> dict[str, Any]:
    """The acceptance for exactly the questions that the offer asks.

    Raises UsageError, naming the options, if an answer is missing and there is nobody to ask.
    """
    questions = {question["field"]: question for question in offer["questions"]}
    asked = {field: question["text"] for field, question in questions.items()}
    complete(answers, asked)
    body: dict[str, Any] = {
        "offer_token": offer["offer"],
        "person": {name: getattr(answers, name) for name in _PERSON},
        "jurisdiction": str(answers.jurisdiction).upper(),
        "agree": answers.agree,
    }
    if "monthly_active_users" in asked:
        body["monthly_active_users"] = {
            "band": answers.mau_band,
            "month": questions["monthly_active_users"]["month"],
            "method": answers.mau_method or "stated by the signatory",
            # The question asks for the entity and its affiliates together, so this is what was answered.
            "affiliates_included": True,
            "value": answers.mau_value,
            "current": answers.mau_current,
        }
    if "flow_down" in asked:
        body["flow_down"] = bool(answers.flow_down)
    return body


def complete(answers: Answers, asked: dict[str, str]) -> None:
    """Ask for what is missing. Raises UsageError if this is no terminal."""
    missing = [
        name for name in ("name", "title", "email", "authority", "jurisdiction") if getattr(answers, name) is None
    ]
    if "monthly_active_users" in asked and answers.mau_band is None:
        missing.append("mau_band")
    if "flow_down" in asked and answers.flow_down is None:
        missing.append("flow_down")
    if not answers.agree:
        missing.append("agree")
    if missing and not (sys.stdin.isatty() and sys.stderr.isatty()):
        options = ", ".join(f"--{name.replace('_', '-')}" for name in missing)
        raise UsageError(f"not answered: {options}", advice="give these options, or run it at a terminal to be asked")
    for name in missing:
        setattr(answers, name, _ask(name, asked))


def _ask(name: str, asked: dict[str, str]) -> Any:
    if name == "mau_band":
        return _ask_band(asked["monthly_active_users"])
    if name in ("flow_down", "agree"):
        return typer.confirm(asked[name], err=True)
    return typer.prompt(name.replace("_", " ").capitalize(), err=True)


def _ask_band(question: str) -> str:
    while (answer := typer.prompt(f"{question} [{'/'.join(BANDS)}]", err=True)) not in BANDS:
        say(f"Answer {' or '.join(BANDS)}.")
    return str(answer)
