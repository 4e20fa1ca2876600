"""What the webhook says; its wire is tested with the real API server in test_deployment_life."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.policy.documents import LicensePolicy
from paddock_core.policy.wire import Change
from paddock_operator.admission import MAX_OBJECT_BYTES, MAX_WARNING, Review, pieces, review
from paddock_operator.ports import Policy

from tests.operator.platforms import policy_of

NOW = 1_800_000_000.0


@pytest.fixture
def policy(helpers: Any) -> Policy:
    objects = [*helpers.registered(), *helpers.accepted("acme-inc")]
    return policy_of(objects)


def document(namespace: str = "acme", **spec: Any) -> dict[str, Any]:
    return {
        "kind": "LlamaDeployment",
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


def noted(size: int, **metadata: Any) -> dict[str, Any]:
    """A document with an annotation of so many bytes."""
    made = document()
    return {**made, "metadata": {**made["metadata"], "annotations": {"note": "x" * size}, **metadata}}


def test_an_object_that_takes_the_room_of_others_is_refused(policy: Policy) -> None:
    answer = judged(policy, noted(MAX_OBJECT_BYTES))
    assert answer.refusal is not None
    assert answer.refusal.startswith("InvalidSpec: the object has ")
    assert judged(policy, noted(MAX_OBJECT_BYTES), noted(10)).refusal == answer.refusal, "its specification is the same"
    assert judged(policy, noted(MAX_OBJECT_BYTES, deletionTimestamp="x")).refusal is not None
    assert judged(policy, noted(MAX_OBJECT_BYTES - 1000, managedFields=["x" * 10_000])).refusal is None


def test_one_that_is_too_large_already_may_be_made_smaller_and_be_deleted(policy: Policy) -> None:
    stored = noted(2 * MAX_OBJECT_BYTES)
    assert judged(policy, noted(2 * MAX_OBJECT_BYTES - 1), stored).refusal is None
    ending = noted(2 * MAX_OBJECT_BYTES, finalizers=["paddock.dev/serving-resources"])
    assert judged(policy, stored, ending).refusal is None
    assert judged(policy, noted(2 * MAX_OBJECT_BYTES + 1), stored).refusal is not None


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


@pytest.mark.parametrize(
    ("changed", "what_runs"),
    [
        ({"model": {"id": "not-yet"}}, "what served before goes on while its own license holds"),
        ({"license": {"acceptanceRef": "other"}}, "what served before goes on while its own license holds"),
        ({"license": {"accept": False}}, "what runs is stopped"),
    ],
)
def test_a_warning_says_what_becomes_of_what_runs(policy: Policy, changed: dict[str, Any], what_runs: str) -> None:
    answer = judged(policy, document(**changed), document())
    assert " ".join(answer.warnings).endswith(what_runs)


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
    found = pieces(f"AcceptanceMissing: {'x' * 130}: create an offer with {command}, then it accepts")
    assert any(command in warning for warning in found)


@given(st.text(max_size=1500))
def test_no_warning_is_longer_than_the_api_server_takes_and_no_word_is_lost(message: str) -> None:
    found = pieces(f"Reason: {message}")
    assert all(len(piece) <= MAX_WARNING for piece in found)
    assert "".join("".join(found).split()) == "".join(f"Reason: {message}".split())


def with_objects(policy: Policy, helpers: Any, *objects: Any) -> Policy:
    """The policy with more objects."""
    start = policy.view.revision
    changes = [
        Change(revision=start + n, kind=helpers.KINDS[type(item)], id=item.id, body=msgspec.to_builtins(item))
        for n, item in enumerate(objects, start=1)
    ]
    return Policy(view=policy.view.apply(changes), expired=policy.expired, at=policy.at)


def model(name: str = "demo-acme", **spec: Any) -> dict[str, Any]:
    """A LlamaModel of acme's."""
    wanted = {"base": "smollm2-135m-instruct", "publicName": "Demo-Acme", "owner": "acme", **spec}
    return {"kind": "LlamaModel", "metadata": {"name": name}, "spec": wanted}


def test_a_model_named_as_its_license_asks_is_let_through(policy: Policy) -> None:
    assert judged(policy, model()) == Review()


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"publicName": "AcmeGPT"}, "NamePrefixRequired"),
        ({"kind": "distillation"}, "TeacherMissing"),
        ({"base": "demo-acme"}, "LineageCycle"),
        ({"teachers": ["demo-acme"]}, "LineageCycle"),
        ({"base": "llama-7b", "publicName": None}, "PurposeDenied"),
        ({"publicName": "Demo-Llama 3", "teachers": ["llama-2-7b-chat"]}, "OutputTrainingDenied"),
        ({"base": 3}, "InvalidSpec"),
    ],
)
def test_a_model_that_nobody_can_mend_is_refused(policy: Policy, spec: dict[str, Any], reason: str) -> None:
    answer = judged(policy, model(**spec))
    assert answer.refusal is not None
    assert answer.refusal.startswith(f"{reason}: ")


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"base": "to-come"}, "BaseUnknown"),
        ({"owner": "to-come"}, "OwnerUnknown"),
        ({"owner": "globex"}, "AcceptanceMissing"),
        ({"base": "llama-3.1-8b-instruct", "publicName": "Llama-Acme"}, "TextNotImported"),
    ],
)
def test_a_model_that_may_come_true_is_admitted_with_a_warning(
    policy: Policy, spec: dict[str, Any], reason: str
) -> None:
    answer = judged(policy, model(**spec))
    assert answer.refusal is None
    assert answer.warnings[0].startswith(f"{reason}: ")
    assert answer.warnings[-1].endswith("Until then it is not registered")


def test_what_must_be_mended_before_others_see_it_is_a_warning(policy: Policy) -> None:
    answer = judged(policy, model(publicName="AcmeGPT", published=False))
    assert answer.refusal is None
    assert "choose another before others get to see the model" in " ".join(answer.warnings)


def test_a_deployment_of_a_made_model_is_judged_by_its_lineage(policy: Policy, helpers: Any) -> None:
    made = helpers.made_model
    known = with_objects(policy, helpers, made(), made("private", owner="globex"), made("bare", weights=None),
                         made("bad", public_name="AcmeGPT"), made("part", kind="adapter"))  # fmt: skip

    def of(name: str, **spec: Any) -> Review:
        return judged(known, document(model={"id": name}, **spec))

    assert of("demo-acme", license={"id": "paddock-demo"}) == Review()
    assert of("private").warnings[0].replace("private", "absent") == of("absent").warnings[0]
    assert of("bare").warnings[0].startswith("WeightsNotRegistered: ")
    assert of("part").warnings[0].startswith("AdapterNotServed: ")
    for answer, reason in (
        (of("demo-acme", license={"id": "mit"}), "LicenseMismatch"),
        (of("demo-acme", engine={"contextLength": 10**6}), "ContextTooLong"),
        (of("bad"), "NamePrefixRequired"),
    ):
        assert answer.refusal is not None
        assert answer.refusal.startswith(f"{reason}: ")


def test_the_platform_may_turn_warnings_into_denials(policy: Policy, helpers: Any) -> None:
    strict = with_objects(policy, helpers, LicensePolicy(admission="deny"))
    assert judged(strict, document()) == Review()
    for new, reason in (
        (document("globex"), "AcceptanceMissing"),
        (document("nowhere"), "NamespaceUnknown"),
        (document(access={"tenants": ["globx"]}), "TenantUnknown"),
        (model(base="to-come"), "BaseUnknown"),
    ):
        refusal = judged(strict, new).refusal
        assert refusal is not None
        assert refusal.startswith(f"{reason}: ")
    cut_off = Policy(view=strict.view, expired=True, at=NOW)
    assert str(judged(cut_off, document()).refusal).startswith("PolicyExpired: ")
    noted = judged(strict, model(publicName="AcmeGPT", published=False))
    assert noted.refusal is None, "what holds for now is no denial"
    assert noted.warnings


def test_a_change_is_refused_only_for_what_it_brings_in(policy: Policy, helpers: Any) -> None:
    strict = with_objects(policy, helpers, LicensePolicy(admission="deny"))
    lacking = document("globex")
    scaled = judged(strict, document("globex", replicas=0), lacking)
    assert scaled.refusal is None
    assert scaled.warnings[0].startswith("AcceptanceMissing: ")
    worse = judged(strict, document("globex", access={"tenants": ["globx"]}), lacking)
    assert str(worse.refusal).startswith("TenantUnknown: ")
    stored = document(license={"id": "mit"})
    stopped = judged(policy, document(license={"id": "mit"}, replicas=0), stored)
    assert stopped.refusal is None
    assert stopped.warnings[0].startswith("LicenseMismatch: ")
    assert judged(policy, document(license={"id": "other"}), stored).refusal is not None
