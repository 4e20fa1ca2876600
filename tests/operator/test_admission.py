"""What the webhook says; its wire is tested with the real API server in test_deployment_life."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.policy.view import PolicyView
from paddock_core.policy.wire import Change
from paddock_operator.admission import MAX_WARNING, Review, _warn, review
from paddock_operator.ports import Policy

NOW = 1_800_000_000.0


@pytest.fixture
def policy(helpers: Any) -> Policy:
    objects = [*helpers.registered(), *helpers.accepted("acme-inc")]
    changes = [
        Change(revision=n, kind=helpers.KINDS[type(item)], id=item.id, body=msgspec.to_builtins(item))
        for n, item in enumerate(objects, start=1)
    ]
    return Policy(view=PolicyView.empty().apply(changes), expired=False, at=NOW)


def document(namespace: str = "acme", **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"namespace": namespace, "name": "chat"},
        "spec": {"model": {"id": "smollm2-135m-instruct"}, **spec},
    }


def judged(policy: Policy, new: dict[str, Any], old: dict[str, Any] | None = None) -> Review:
    return review(new=new, old=old, policy=policy, catalog=packaged_catalog())


def test_licensed_is_let_through_in_silence(policy: Policy) -> None:
    assert judged(policy, document()) == Review()


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"license": {"id": "mit"}}, "LicenseMismatch"),
        ({"parallelism": {"tensor": 2}}, "InvalidParallelism"),
        ({"engine": {"contextLength": 10**6}}, "ContextTooLong"),
        ({"engine": {"type": "LLMAPI"}}, "EngineCannotLoad"),
        ({"replicas": "many"}, "InvalidSpec"),
    ],
)
def test_what_nobody_can_mend_is_refused(policy: Policy, spec: dict[str, Any], reason: str) -> None:
    answer = judged(policy, document(**spec))
    assert answer.refusal is not None
    assert answer.refusal.startswith(f"{reason}: ")


@pytest.mark.parametrize(
    ("new", "reason"),
    [
        (document("globex"), "AcceptanceMissing"),
        (document("nowhere"), "NamespaceUnknown"),
        (document(model={"id": "not-yet"}), "ModelUnknown"),
        (document(license={"accept": False}), "AcceptDeclined"),
        (document(license={"acceptanceRef": "other"}), "RecordMismatch"),
    ],
)
def test_what_may_come_true_is_admitted_with_a_warning(policy: Policy, new: dict[str, Any], reason: str) -> None:
    answer = judged(policy, new)
    assert answer.refusal is None
    assert answer.warnings[0].startswith(f"{reason}: ")


def test_access_for_tenants_that_nobody_knows_is_admitted_with_a_warning(policy: Policy) -> None:
    answer = judged(policy, document(access={"tenants": ["globex", "globx", "initech"]}))
    assert answer.refusal is None
    assert len(answer.warnings) == 1
    assert answer.warnings[0].startswith("TenantUnknown: spec.access.tenants names globx, initech: ")
    both = judged(policy, document("globex", access={"tenants": ["nobody"]}))
    assert both.warnings[0].startswith("AcceptanceMissing: ")
    assert both.warnings[-1].startswith("TenantUnknown: ")
    assert judged(policy, document(access={"tenants": ["globex"]})) == Review()
    refused = judged(policy, document(license={"id": "mit"}, access={"tenants": ["nobody"]}))
    assert refused.refusal is not None
    assert (
        judged(Policy(view=policy.view, expired=True, at=NOW), document(access={"tenants": ["n"]}))
        .warnings[-1]
        .startswith("PolicyExpired")
    )


def test_a_cut_off_operator_admits_and_says_so(policy: Policy) -> None:
    answer = judged(Policy(view=policy.view, expired=True, at=NOW), document())
    assert answer.refusal is None
    assert answer.warnings[0].startswith("PolicyExpired: ")


def test_finalizers_and_labels_can_always_be_changed(policy: Policy) -> None:
    bad = document(license={"id": "mit"})
    relabelled = {**bad, "metadata": {**bad["metadata"], "labels": {"a": "b"}}}
    assert judged(policy, relabelled, bad) == Review()
    going = {**bad, "metadata": {**bad["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    assert judged(policy, going, document()) == Review()
    assert judged(policy, bad, document()).refusal is not None


def test_commands_stay_whole_in_broken_warnings() -> None:
    command = "`paddock license offer --entity acme-inc --model smollm2-135m-instruct --role deployer`"
    answer = _warn("AcceptanceMissing", f"{'x' * 130}: create an offer with {command}, then it accepts")
    assert any(command in warning for warning in answer.warnings)


@given(st.text(max_size=1500))
def test_no_warning_is_longer_than_the_api_server_takes_and_no_word_is_lost(message: str) -> None:
    pieces = _warn("Reason", message).warnings
    assert all(len(piece) <= MAX_WARNING for piece in pieces)
    assert "".join("".join(pieces).split()) == "".join(f"Reason: {message}".split())
