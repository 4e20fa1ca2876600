"""The signatory's form: from what was typed to the body of an acceptance, and from errors back to the fields.

What the answers must be is judged where the API's are judged; here are only the words for people.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from pydantic import ValidationError

from paddock_controlplane.licensing.bodies import AcceptanceBody
from paddock_controlplane.licensing.offers import OfferView
from paddock_controlplane.licensing.questions import Question
from paddock_controlplane.problems import Invalid

_MOST_FIELDS = 40
_LONGEST = 20_000
_SEPARATORS = re.compile("[\\s,_'\u00a0\u202f\u2019]")

FIELDS = {
    "band": ("monthly_active_users.band", "Choose whether there were at most or more than that many users"),
    "value": ("monthly_active_users.value", "Write the number in digits, or leave it empty"),
    "current": ("monthly_active_users.current", "Write the number of users of the last full month in digits"),
    "method": ("monthly_active_users.method", "Say in one line how the users were counted"),
    "affiliates_included": (
        "monthly_active_users.affiliates_included",
        "Confirm that affiliates are counted: the license asks for the sum",
    ),
    "affiliates": ("monthly_active_users.affiliates", "Write one affiliate a line, each at most 200 characters"),
    "flow_down": ("flow_down", "Choose yes or no"),
    "name": ("person.name", "Write your full name"),
    "title": ("person.title", "Write your position in the company"),
    "email": ("person.email", "Write an address such as name@company.example"),
    "authority": ("person.authority", "Say in one line by what authority you bind the company"),
    "jurisdiction": ("jurisdiction", "Write the two letters of the country, such as US or FR"),
    "agree": ("agree", "Tick the box if the company agrees; without it nothing is signed"),
    "signature": ("signature", "Type your name as you wrote it above"),
}
"""Each field in the order of the page: its place in the body of an acceptance, and what to say where it is wrong."""
_USERS = ("band", "value", "current", "method", "affiliates_included", "affiliates")
_OPTIONAL = ("value", "affiliates")
_SAID_BY_SERVICE = ("person.email",)
"""Places where the service says more than the words above."""
_ABOVE = "This number is above the threshold: choose “more than” above, or correct the number"


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What a browser sent: each field once, as it was typed."""

    values: Mapping[str, str]

    def get(self, name: str) -> str:
        return self.values.get(name, "").strip()


def read_form(body: bytes) -> Form:
    """The fields of a body in the form that browsers send.

    Raises:
        Invalid: it is not one, or too large.
    """
    if len(body) > _LONGEST * 4:
        raise Invalid("this form is too large: shorten the list of affiliates")
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict")
    except ValueError as error:
        raise Invalid("this is no form of this site: open the link again") from error
    return Form(values={name: value.replace("\r\n", "\n") for name, value in pairs})


def asked(offer: OfferView) -> list[str]:
    """The fields that this offer's page has."""
    questions = {question.field: question for question in offer.questions}
    users = questions.get("monthly_active_users")
    left_out = set(() if users else _USERS) | set(() if "flow_down" in questions else ("flow_down",))
    if users is not None and not users.current:
        left_out.add("current")
    return [name for name in FIELDS if name not in left_out]


def question_of(offer: OfferView, field: str) -> Question | None:
    """The question of this name, if the offer asks it."""
    return next((question for question in offer.questions if question.field == field), None)


def read_answers(form: Form, offer: OfferView) -> tuple[AcceptanceBody | None, dict[str, str]]:
    """The body of an acceptance, or what is wrong by field."""
    names = asked(offer)
    wrong = {name: FIELDS[name][1] for name in names if name not in _OPTIONAL and not form.get(name)}
    if form.get("signature") and _one_line(form.get("signature")) != _one_line(form.get("name")):
        wrong["signature"] = "The signature and the name above differ: type your name exactly as above"
    try:
        body = AcceptanceBody.model_validate(_document(form, offer))
    except ValidationError as error:
        places = [(".".join(str(part) for part in item["loc"]), str(item["msg"])) for item in error.errors()]
        wrong = {**by_field(places), **wrong}
        body = None
    return (None if wrong else body), _in_order(wrong)


def by_field(places: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Errors by the field of the page, from errors by place in the body."""
    found: dict[str, str] = {}
    for at, message in places:
        name = next((name for name, (place, _) in FIELDS.items() if at == place or at.startswith(f"{place}.")), "agree")
        words = message[:1].upper() + message[1:] if at in _SAID_BY_SERVICE and "link" in message else FIELDS[name][1]
        found.setdefault(name, _ABOVE if name == "value" and "above" in message else words)
    return _in_order(found)


def _in_order(wrong: Mapping[str, str]) -> dict[str, str]:
    return {name: wrong[name] for name in FIELDS if name in wrong}


def _document(form: Form, offer: OfferView) -> dict[str, object]:
    document: dict[str, object] = {
        "offer_token": offer.offer,
        "person": {name: form.get(name) for name in ("name", "title", "email", "authority")},
        "jurisdiction": form.get("jurisdiction").upper(),
        "agree": form.get("agree") == "yes",
    }
    users = question_of(offer, "monthly_active_users")
    if users is not None:
        document["monthly_active_users"] = {
            "band": form.get("band"),
            "month": users.month,
            "method": form.get("method"),
            "affiliates_included": form.get("affiliates_included") == "yes",
            "value": _digits(form.get("value")),
            "current": _digits(form.get("current")),
            "affiliates": [line.strip() for line in form.get("affiliates").split("\n") if line.strip()],
        }
    if question_of(offer, "flow_down") is not None and form.get("flow_down"):
        document["flow_down"] = form.get("flow_down") == "yes"
    return document


def _digits(text: str) -> str | None:
    """A number with its separators of thousands taken out; None where nothing was typed."""
    return _SEPARATORS.sub("", text) or None


def _one_line(text: str) -> str:
    return " ".join(text.split())
