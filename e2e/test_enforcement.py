"""Each point at which a license is enforced, on the real parts: with the point taken out, its test here fails."""

import json
from pathlib import Path

import httpx
import pytest
import yaml
from paddock_local.demo import steps
from paddock_local.demo.cast import LICENSE, MODEL, TENANTS

from e2e import enforcement as act

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def gateway(stack, world):
    """The gateway, acme's deployment served by it under acme's license."""
    act.set_up(world)
    act.accept(world)
    steps.serving(world)
    found = act.Endpoint(world=world, url=stack.url("gateway"))
    act.eventually(found.serves, what="service", seconds=300)
    yield found
    found.close()


def test_kubectl_apply_refuses_what_no_later_act_can_mend(world, gateway):
    """LLaMA 1 is for research alone; that its texts are missing and that nobody accepted it could be mended."""
    said = act.apply(world, act.deployment("paid", model="llama-7b"))
    assert said.code != 0
    assert "PurposeDenied" in said.err
    assert "denied the request" in said.err


def test_kubectl_apply_warns_of_what_can_be_mended_and_the_loop_runs_nothing(world, gateway):
    """globex has accepted nothing as deployer: admitted with the mending command, without Job, pods or engine."""
    said = act.apply(world, act.deployment("hopeful", namespace="globex", license={"accept": True}), who="globex")
    try:
        assert said.code == 0, said.err
        assert "Warning: AcceptanceMissing" in said.err
        assert "paddock license offer" in said.err
        where = {"name": "hopeful", "namespace": "globex"}
        act.eventually(lambda: act.judged(world, "AcceptanceMissing", **where), what="the operator")
        conditions = act.looked(world, **where)
        assert conditions["LicenseAccepted"]["status"] == "False"
        assert conditions["Serving"]["status"] == "False"
        assert "WeightsReady" not in conditions
        assert act.pods(world, "paddock-serving-globex") == []
        events = world.kubectl("get", "events", "-n", "globex", "-o", "json", who="kubernetes-admin").json["items"]
        told = [item for item in events if item["involvedObject"]["name"] == "hopeful"]
        assert "AcceptanceMissing" in json.dumps(told)
    finally:
        world.kubectl("delete", "llamadeployment", "hopeful", "-n", "globex", who="globex")


@pytest.mark.parametrize("token", ["", "dt.e30.0000", "another model's"])
def test_nothing_is_downloaded_without_a_decision_token(stack, world, gateway, tmp_path, token):
    assert act.prepare_weights(stack, tmp_path, token=act.download_token(world, MODEL)).returncode == 0
    assert files(tmp_path)
    bare = tmp_path / "without"
    bare.mkdir()
    given = act.token_for_another_model(world) if token == "another model's" else token
    done = act.prepare_weights(stack, bare, token=given)
    assert done.returncode == 1, done.stderr
    assert "decision_token" in done.stderr or "DownloadDenied" in done.stderr
    assert files(bare) == []


def test_a_token_given_before_is_worth_nothing_without_the_license(stack, world, gateway, tmp_path):
    """The platform's own license ends between the token and the download. Every point follows it."""
    token = act.download_token(world, MODEL)
    with act.operators_license_ended(stack, world):
        done = act.prepare_weights(stack, tmp_path, token=token)
        assert done.returncode == 1
        assert "DownloadDenied" in done.stderr
        assert files(tmp_path) == []
        assert act.ask_for_download_token(world, MODEL).status_code == 403
        assert act.eventually(gateway.refuses, what="a refusal") == "OperatorNotLicensed"
    assert act.eventually(gateway.serves, what="service", seconds=300)


def files(folder):
    """The weights that were fetched, whole or in part; locks and the memory of failed tries are none."""
    found = [path for path in (folder / "weights").rglob("*") if path.is_file()]
    return [path for path in found if path.suffix != ".lock" and not path.name.startswith(".tries-")]


def test_each_row_of_the_ledger_names_the_acceptance_that_it_rests_on(world, gateway):
    let_globex_in(world)
    try:
        act.eventually(lambda: gateway.serves(tenant="globex"), what="globex to be let in", seconds=300)
        for tenant, role in (("acme", "deployer"), ("globex", "consumer")):
            given = act.acceptance(world, entity=TENANTS[tenant].entity, role=role)
            assert given
            answered = gateway.ask(tenant=tenant)
            row = act.eventually(lambda name=answered.id: act.ledger_row(world, name), what="the ledger")
            assert row["tenant"] == tenant
            assert given in row["acceptance_id"].split(",")
    finally:
        patch = '{"spec":{"access":{"tenants":[]}}}'
        world.kubectl("patch", "llamadeployment", "smollm2", "-n", "acme", "--type", "merge", "-p", patch)


def let_globex_in(world):
    """globex may call acme's deployment, as far as acme and globex's own acceptance go."""
    patch = '{"spec":{"access":{"tenants":["globex"]}}}'
    world.kubectl("patch", "llamadeployment", "smollm2", "-n", "acme", "--type", "merge", "-p", patch)
    world.paddock("quota", "set", "--tenant", "globex", "--requests-per-minute", "600")  # the story leaves it one
    if act.acceptance(world, entity=TENANTS["globex"].entity, role="consumer") is None:
        steps.accept(world, party=TENANTS["globex"], role="consumer", who="globex")


def test_what_the_license_asks_to_be_shown_is_told(world, gateway):
    headers = {"authorization": f"Bearer {world.secret('acme-admin')}"}
    base = f"{world.controlplane_url}/v1"
    (notice,) = httpx.get(f"{base}/models/{MODEL}/notice", headers=headers, timeout=120).json()["notices"]
    assert notice["license"] == LICENSE
    assert notice["notice"].startswith("The demonstration model is provided under")
    assert notice["attribution"] == ["Built with the Paddock demonstration model"]
    shown = httpx.get(f"{base}/licenses/{LICENSE}", headers=headers, timeout=120).json()
    assert shown["imported"] == {"agreement": True, "aup": True}
    assert any("Built with the Paddock demonstration model" in duty["text"] for duty in shown["duties"]), shown[
        "duties"
    ]


def made_from_the_demonstration_model(public_name):
    """A LlamaModel of acme's, with a name of its own."""
    (document, _) = yaml.safe_load_all((ROOT / "examples" / "fine-tune.yaml").read_text())
    document["metadata"]["name"] = "made-by-acme"
    document["spec"] |= {"publicName": public_name, "published": True}
    return document


def test_a_model_whose_name_breaks_its_bases_license_is_not_registered(world, gateway):
    """The demonstration license asks for a name that begins with "Demo". By kubectl, and past it by the API."""
    good, bad = made_from_the_demonstration_model("Demo-Acme"), made_from_the_demonstration_model("AcmeGPT")
    try:
        said = act.apply(world, bad, who="kubernetes-admin")
        assert said.code != 0
        assert "NamePrefixRequired" in said.err
        assert act.apply(world, good, who="kubernetes-admin").code == 0
        act.eventually(lambda: registered(world, "Demo-Acme"), what="the model to be registered", seconds=300)
    finally:
        world.kubectl("delete", "llamamodel", "made-by-acme", "--ignore-not-found", who="kubernetes-admin")
    act.eventually(lambda: not registered(world, "Demo-Acme"), what="the model to go", seconds=300)
    internal = (world.admin_token_file.parent / "internal-token").read_text().strip()
    body = {"base": MODEL, "kind": "fine_tune", "public_name": "AcmeGPT", "owner": "acme", "published": True}
    for path, method, token in (
        ("/v1/models", "POST", world.secret("acme-admin")),
        ("/internal/v1/models/made-by-acme", "PUT", internal),
    ):
        document = {"id": "made-by-acme", **body} if method == "POST" else body
        answer = httpx.request(
            method,
            world.controlplane_url + path,
            json=document,
            headers={"authorization": f"Bearer {token}"},
            timeout=120,
        )
        assert answer.status_code == 403, answer.text
        assert "NamePrefixRequired" in answer.text
    assert not registered(world, "AcmeGPT")


def registered(world, public_name):
    """Whether the control plane knows a model of acme's by this name."""
    return public_name in json.dumps(world.paddock("model", "list").json)
