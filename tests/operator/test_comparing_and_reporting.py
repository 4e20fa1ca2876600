"""When a write is needed, what the status says, and which objects a policy change concerns."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.policy.documents import Acceptance, Entity, Grant, Namespace, Statement, Tenant
from paddock_core.policy.view import PolicyView
from paddock_core.policy.wire import Change
from paddock_core.resources import names
from paddock_core.resources.conditions import ConditionType, fails, holds
from paddock_core.resources.llamadeployment import RoutingStatus
from paddock_operator.comparing import contains
from paddock_operator.decide.outcome import Outcome
from paddock_operator.decide.routing import stamped
from paddock_operator.index import Index, concerned
from paddock_operator.observed import Observed, parse
from paddock_operator.ports import Key, Policy
from paddock_operator.report import event, status_of, transitions

from tests.operator.platforms import view_of
from tests.operator.policy_server import KINDS

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(value=VALUES)
def test_everything_contains_itself(value: Any) -> None:
    assert contains(value, value)


@given(live=st.dictionaries(st.text(max_size=3), VALUES, max_size=4), more=st.dictionaries(st.text(max_size=3), VALUES))
def test_fields_of_others_do_not_matter(live: dict[str, Any], more: dict[str, Any]) -> None:
    assert contains({**more, **live}, live)


@pytest.mark.parametrize(
    ("live", "wanted", "equal"),
    [
        ({"a": 1}, {"a": 2}, False),
        ({"a": [1, 2]}, {"a": [1]}, False),
        ({"a": [{"b": 1, "c": 2}]}, {"a": [{"b": 1}]}, True),
        ({"a": [{"b": 1}, {"b": 2}]}, {"a": [{"b": 2}, {"b": 1}]}, False),
        ({}, {"a": {}}, True),
        ({}, {"a": []}, True),
        ({}, {"a": 0}, False),
        ({"a": None}, {"a": {"b": {}}}, False),
        ({"a": "x"}, {"a": {"b": 1}}, False),
    ],
)
def test_a_write_is_needed_exactly_when_something_differs(live: Any, wanted: Any, equal: bool) -> None:
    assert contains(live, wanted) is equal


def observed(status: dict[str, Any]) -> Observed:
    document = {
        "metadata": {"namespace": "acme", "name": "chat", "uid": "u", "generation": 4},
        "spec": {"model": {"id": "m"}},
        "status": status,
    }
    return Observed(
        key=Key("acme", "chat"),
        now=1_800_000_000.0,
        catalog=packaged_catalog(),
        policy=Policy(view=PolicyView.empty(), expired=False, at=0.0),
        deployment=parse(document)[0],
    )


def test_status_says_where_and_what() -> None:
    routing = stamped(RoutingStatus(digest=""))
    outcome = Outcome(findings=(holds(ConditionType.SERVING, "Serving", "one"),), routing=routing, ready_replicas=1)
    status = status_of(observed({}), outcome, gateway_url="http://gateway.test")
    assert status.url == "http://gateway.test/v1"
    assert status.served_model_name == "acme/chat"
    assert status.observed_generation == 4
    assert status.phase == "Serving"
    again = status_of(observed(msgspec.to_builtins(status)), outcome, gateway_url="http://gateway.test")
    assert again == status, "a second round writes nothing"


def test_events_tell_transitions_once() -> None:
    look = observed({})
    first = status_of(look, Outcome(findings=(fails(ConditionType.SERVING, "Loading", "a"),)), gateway_url="")
    same = status_of(look, Outcome(findings=(fails(ConditionType.SERVING, "Loading", "b"),)), gateway_url="")
    other = status_of(look, Outcome(findings=(fails(ConditionType.SERVING, "CrashLooping", "b"),)), gateway_url="")
    assert transitions(first.conditions, same.conditions) == []
    changed = transitions(first.conditions, other.conditions)
    assert [item.reason for item in changed] == ["CrashLooping"]
    told = event(look, changed[0])
    assert told["type"] == "Warning"
    assert told["metadata"]["name"] == event(look, changed[0])["metadata"]["name"]


def test_an_end_of_a_change_that_no_other_condition_tells_is_an_event_once() -> None:
    serves, refused = holds(ConditionType.SERVING, "Serving", ""), fails(ConditionType.SERVING, "ApplyFailed", "")
    look, outcome = observed({}), Outcome(findings=(serves,), ready_replicas=1, wanted=1, refused="denied by policy")
    status = status_of(look, outcome, gateway_url="")
    assert [(item.type, item.reason) for item in transitions((), status.conditions)] == [("Progressing", "ApplyFailed")]
    assert transitions(status.conditions, status.conditions) == []
    both = status_of(look, structs.replace(outcome, findings=(refused,)), gateway_url="")
    assert [item.type for item in transitions((), both.conditions)] == ["Serving"], "told once"


def test_what_comes_about_by_itself_is_no_event_not_even_that_it_serves() -> None:
    look = observed({})
    kind = ConditionType
    stages = [
        (holds(kind.ACCEPTED, "Accepted", ""), fails(kind.WEIGHTS_READY, "Preparing", "")),
        (fails(kind.SCHEDULED, "PodsPending", ""), fails(kind.SERVING, "Loading", "")),
        (holds(kind.SCHEDULED, "Scheduled", ""), fails(kind.SERVING, "Loading", "")),
        (holds(kind.SCHEDULED, "Scheduled", ""), holds(kind.SERVING, "Serving", "")),
        (holds(kind.SCHEDULED, "Scheduled", ""), fails(kind.SERVING, "CrashLooping", "")),
        (fails(kind.SCHEDULED, "InsufficientGPU", ""), fails(kind.SERVING, "Loading", "")),
        (holds(kind.SCHEDULED, "Scheduled", ""), holds(kind.SERVING, "Serving", "")),
    ]
    told, before = [], ()
    for stage in stages:
        after = status_of(look, Outcome(findings=stage), gateway_url="").conditions
        told.append([item.reason for item in transitions(before, after)])
        before = after
    over = ["Scheduled"]
    assert told == [[], [], [], [], ["CrashLooping"], ["InsufficientGPU"], over], "troubles, and their end"


ACCEPTANCE = Acceptance(id="a1", entity="acme-inc", license="l", role="deployer", canonical="c", at=0.0)
VIEW = view_of(
    [
        Entity(id="platform", legal_name="P", principal_place_of_business="IE", is_operator=True),
        Entity(id="acme-inc", legal_name="A", principal_place_of_business="US"),
        Tenant(id="acme", entity="acme-inc"),
        Tenant(id="acme-lab", entity="acme-inc"),
        Tenant(id="globex", entity="globex-ag"),
        Namespace(id="ns-acme", tenant="acme"),
        Namespace(id="ns-lab", tenant="acme-lab"),
        Namespace(id="ns-globex", tenant="globex"),
        ACCEPTANCE,
    ]
)


@pytest.mark.parametrize(
    ("kind", "id_", "body", "namespaces"),
    [
        ("api_key", "k", {}, set()),
        ("namespace", "ns-new", {"id": "ns-new", "tenant": "acme"}, {"ns-new"}),
        ("tenant", "globex", None, {"ns-globex"}),
        ("acceptance", "a2", {"entity": "acme-inc"}, {"ns-acme", "ns-lab"}),
        ("acceptance", "a1", None, {"ns-acme", "ns-lab"}),
        ("statement", "s", {"entity": "globex-ag"}, {"ns-globex"}),
        ("entity", "acme-inc", {}, {"ns-acme", "ns-lab"}),
        ("entity", "platform", {}, None),
        ("acceptance", "a3", {"entity": "platform"}, None),
        ("license_text", "t", {}, None),
        ("license_policy", "platform", {}, None),
        ("model", "m", {}, None),
        ("a_kind_of_a_newer_control_plane", "x", {}, None),
    ],
)
def test_policy_change_concerns_those_whose_decision_may_change(
    kind: str, id_: str, body: dict[str, Any] | None, namespaces: set[str] | None
) -> None:
    change = Change(revision=99, kind=kind, id=id_, body=body)
    assert concerned([change], before=VIEW, after=VIEW) == namespaces


def grant(*affiliates: str) -> Grant:
    return Grant(
        id="g1", entity="acme-inc", licenses=("l",), models=(), valid_from=0.0, valid_to=1.0, affiliates=affiliates
    )


AFFILIATE = Entity(id="acme-inc", legal_name="A", principal_place_of_business="US", affiliates=("globex-ag",))
STATEMENT = Statement(
    id="s1", entity="globex-ag", license="l", band="le_700m", at=0.0, affiliates=("acme-inc", "other-ltd")
)


@pytest.mark.parametrize(
    ("held", "kind", "id_", "namespaces"),
    [
        (grant("globex-ag"), "grant", "g1", None),
        (grant(), "grant", "g1", {"ns-acme", "ns-lab"}),
        (AFFILIATE, "entity", "acme-inc", None),
        (AFFILIATE, "acceptance", "a1", None),
        (STATEMENT, "acceptance", "a1", None),
        (STATEMENT, "statement", "s1", {"ns-globex"}),
    ],
)
def test_what_reaches_affiliates_concerns_everybody_whether_it_comes_or_goes(
    held: Any, kind: str, id_: str, namespaces: set[str] | None
) -> None:
    change = Change(revision=99, kind=kind, id=id_, body={"entity": getattr(held, "entity", "acme-inc")})
    change = replace(change, body={"entity": "acme-inc"}) if kind == "acceptance" else change
    without, with_it = VIEW, VIEW.apply([Change(revision=98, kind=KINDS[type(held)], id=held.id, body=body_of(held))])
    assert concerned([change], before=without, after=with_it) == namespaces
    gone = replace(change, body=None)
    assert concerned([gone], before=with_it, after=with_it if kind == "acceptance" else without) == namespaces


def test_a_tenant_of_another_entity_concerns_everybody_and_one_more_of_the_same_its_entity() -> None:
    def come(entity: str) -> set[str] | None:
        change = Change(revision=99, kind="tenant", id="new", body={"id": "new", "entity": entity, "priced": True})
        return concerned([change], before=VIEW, after=VIEW.apply([change]))

    assert come("newcomer-ltd") is None
    assert come("acme-inc") == {"ns-acme", "ns-lab"}


def body_of(held: Any) -> dict[str, Any]:
    body: dict[str, Any] = msgspec.to_builtins(held)
    return body


def test_index_finds_who_waits_for_weights(helpers: Any) -> None:
    index = Index(packaged_catalog(), registered=lambda: {"made": helpers.made_model("made")})

    def put(name: str, model: str) -> None:
        index.put({"metadata": {"namespace": "n", "name": name}, "spec": {"model": {"id": model}}})

    put("a", "smollm2-135m-instruct")
    put("b", "llama-3.1-8b-instruct")
    put("c", "unknown")
    put("d", "made")
    model = packaged_catalog().models["smollm2-135m-instruct"]
    jobs = [
        names.weights_job_name(names.model_digest(entry, precision="q4_1"))
        for entry in (model, replace(model, id="made", weights={"q4_1": helpers.made_model("made").weights}))
    ]
    assert [index.waiting_for(job) for job in jobs] == [[Key("n", "a")], [Key("n", "d")]]
    index.drop(Key("n", "a"))
    index.drop(Key("n", "d"))
    assert [index.waiting_for(job) for job in jobs] == [[], []]
    index.replace([])
    assert index.keys() == []
