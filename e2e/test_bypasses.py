"""Ways around the license: each first serves a token with it, then shows that there is none without it."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator

import openai
import pytest
from paddock_local.bare_kubernetes import free_port
from paddock_local.demo import steps
from paddock_local.demo.cast import OPERATOR, TENANTS

from e2e import enforcement as act
from faults.beside import Beside, MovedClock, answers, beside

pytestmark = pytest.mark.stack

HOUR = 3600.0
GRANT_SECONDS = 45.0
GATEWAYS = {"the first": None, "a second": 0.0, "an hour ahead": HOUR, "an hour behind": -HOUR}
WEBHOOK = "validatingwebhookconfiguration"


@pytest.fixture
def licensed(world, gateways):
    """acme's deployment serves, under an acceptance in force."""
    license_and_serve(world, gateways)


def license_and_serve(world, gateways):
    act.set_up(world)
    act.accept(world)
    steps.serving(world)
    act.eventually(gateways["the first"].serves, what="service", seconds=300)


@pytest.fixture(scope="module")
def clock(tmp_path_factory):
    """Makes a wall clock that is off."""

    def make(seconds):
        made = MovedClock(tmp_path_factory.mktemp("clock") / "off")
        made.set(wall=seconds)
        return made

    return make


@pytest.fixture(scope="module")
def gateways(stack, world, clock) -> Iterator[dict[str, act.Endpoint]]:
    """The stack's gateway, and more of them: one like it, two with wrong clocks."""
    with contextlib.ExitStack() as running:
        found = {}
        for name, off in GATEWAYS.items():
            url = stack.url("gateway")
            if off is not None:
                instance = "beside-" + name.replace(" ", "-")
                url = running.enter_context(beside(stack, "gateway", instance, clock=clock(off))).url
            found[name] = act.Endpoint(world=world, url=url)
            running.callback(found[name].close)
        yield found


@contextlib.contextmanager
def without(stack, part) -> Iterator[None]:
    """A part is away until the block ends."""
    stack.supervisor.stop_part(part)
    try:
        yield
    finally:
        stack.supervisor.start_part(part)
        listener = {"operator": "operator_health"}.get(part, part)
        url = f"{stack.url(listener)}/healthz"
        act.eventually(lambda: answers(url), what=f"{part} to answer", seconds=300)


@pytest.fixture(scope="class")
def pods_stay(stack, world, gateways) -> Iterator[None]:
    """No operator takes pods away: what refuses now is the gateway alone."""
    license_and_serve(world, gateways)
    with without(stack, "operator"):
        yield
        act.accept(world)


class Listener(threading.Thread):
    """Reads a stream, and remembers how it ended."""

    def __init__(self, gateway):
        super().__init__(daemon=True)
        self.heard, self.end = threading.Event(), ""
        self._stream = gateway.stream()

    def run(self):
        try:
            for _ in self._stream:
                self.heard.set()
        except openai.APIError as error:
            self.end = str(error.code)
        else:
            self.end = "its last token"


class TestWhileThePodsStay:
    def test_no_gateway_serves_and_no_answer_goes_on_without_the_license(self, world, pods_stay, gateways):
        """Not a second one either, nor one whose clock is an hour off."""
        engine = act.engine(world)
        for gateway in gateways.values():
            assert act.eventually(gateway.serves, what="an answer")
        listeners = {name: Listener(gateway) for name, gateway in gateways.items()}
        for listener in listeners.values():
            listener.start()
            assert listener.heard.wait(60)
        act.revoke(world)
        for listener in listeners.values():
            listener.join(act.REFUSAL_SECONDS)
        assert {name: listener.end for name, listener in listeners.items()} == dict.fromkeys(
            GATEWAYS, "AcceptanceMissing"
        )
        for name, gateway in gateways.items():
            assert gateway.refuses() == "AcceptanceMissing", name
        assert engine.ask(secret=engine.secret) == 200, "the model itself would still answer"

    def test_a_gateway_that_is_cut_off_stops_serving_and_no_restart_helps(
        self, stack, world, pods_stay, licensed, clock
    ):
        with (
            beside(stack, "controlplane", "beside-short", MAX_POLICY_AGE_SECONDS="5") as source,
            beside(stack, "gateway", "beside-cut", CONTROLPLANE_URL=source.url) as process,
            contextlib.closing(act.Endpoint(world=world, url=process.url)) as gateway,
        ):
            assert act.eventually(gateway.serves, what="an answer")
            source.stop()
            act.revoke(world)
            assert act.eventually(gateway.refuses, what="a refusal") == "PolicyExpired"
            for off in (0.0, -HOUR):
                process.stop()
                process.clock = clock(off)
                process.start()
                assert {gateway.refuses() for _ in range(5)} == {"PolicyExpired"}
            source.start()
            assert act.eventually(lambda: _is(gateway.refuses(), "AcceptanceMissing"), what="news of the revocation")

    def test_a_license_ends_in_time_by_no_gateways_own_clock(self, world, pods_stay, licensed, gateways):
        """A grant is over: the gateway whose clock is an hour behind knows it too."""
        began = time.monotonic()
        act.license_by_grant(world, seconds=GRANT_SECONDS)
        try:
            for gateway in gateways.values():
                assert gateway.serves(), "the grant permits it"
            assert time.monotonic() - began < GRANT_SECONDS, "this machine is too slow to show anything"
            for name, gateway in gateways.items():
                code = act.eventually(gateway.refuses, what=f"{name} to refuse", seconds=GRANT_SECONDS + 60)
                assert code == "GrantExpired", name
            assert time.monotonic() - began > GRANT_SECONDS - 5, "none ended it early"
        finally:
            act.grant(world, seconds=24 * HOUR)  # what was once stated above the line stands
            act.revoke(world)
            act.accept(world)


def test_while_the_control_plane_is_down_nobody_else_gets_in(stack, world, licensed, gateways):
    """A second tenant applies the same model, and its application calls the first one's: neither has the license."""
    gateway = gateways["the first"]
    assert act.acceptance(world, entity=TENANTS["globex"].entity, role="deployer") is None
    with without(stack, "controlplane"):
        assert gateway.serves(), "what is licensed goes on by the gateway's copy"
        said = act.apply(world, act.deployment("stolen", namespace="globex"), who="globex")
        assert said.code == 0, said.err
        where = {"name": "stolen", "namespace": "globex"}
        act.eventually(lambda: act.judged(world, "AcceptanceMissing", **where), what="the operator")
        assert act.pods(world, "paddock-serving-globex") == []
        assert gateway.refuses(tenant="globex", model="globex/stolen") == "AcceptanceMissing"
        assert gateway.refuses(tenant="globex") == "AccessDenied"
    world.kubectl("delete", "llamadeployment", "stolen", "-n", "globex", who="globex")


@pytest.fixture(scope="class")
def ended(stack, world, gateways) -> Iterator[act.Engine]:
    """acme was served a token, and then its license ended; what its engine was."""
    license_and_serve(world, gateways)
    gateway, engine = gateways["the first"], act.engine(world)
    assert engine.ask(secret=engine.secret) == 200
    act.revoke(world)
    assert act.eventually(gateway.refuses, what="a refusal")
    act.eventually(lambda: not act.pods(world), what="the pods to go", seconds=300)
    yield engine
    act.accept(world)


def test_triton_answers_nobody_but_gateways_while_it_runs(world, licensed):
    engine = act.engine(world)
    assert engine.ask(secret=engine.secret) == 200
    assert {engine.ask(), engine.ask(secret="0" * 64)} == {403}


class TestAfterItsEnd:
    def test_triton_itself_answers_nobody(self, ended):
        assert ended.ask(secret=ended.secret) == ended.ask() == 0

    @pytest.mark.parametrize("whose", ["the operator's", "another tenant's", "the one that ended", "nobody's"])
    def test_a_reference_to_an_acceptance_is_not_one(self, world, ended, gateways, whose):
        reference = {
            "the operator's": act.acceptance(world, entity=OPERATOR.entity, role="operator"),
            "another tenant's": act.acceptance(world, entity=TENANTS["globex"].entity, role="consumer"),
            "the one that ended": act.ended_acceptance(world),
            "nobody's": "acc-aaaaaaaaaaaa",
        }[whose] or "acc-bbbbbbbbbbbb"
        patch = {"spec": {"license": {"accept": True, "id": "paddock-demo", "acceptanceRef": reference}}}
        world.kubectl("patch", "llamadeployment", "smollm2", "-n", "acme", "--type", "merge", "-p", json.dumps(patch))
        try:
            act.looked_at(world)
            assert world.condition("LicenseAccepted")["reason"] == "AcceptanceMissing"
            assert act.pods(world) == []
            assert gateways["the first"].refuses() == "AcceptanceMissing"
        finally:
            patch["spec"]["license"]["acceptanceRef"] = None
            world.kubectl(
                "patch", "llamadeployment", "smollm2", "-n", "acme", "--type", "merge", "-p", json.dumps(patch)
            )

    def test_without_the_webhook_the_loop_refuses(self, world, ended, gateways):
        """What the webhook would have denied outright is stored, and gets no pod."""
        kept = json.loads(world.kubectl("get", WEBHOOK, "-o", "json", who="kubernetes-admin").out)["items"]
        names = [item["metadata"]["name"] for item in kept]
        assert names
        world.kubectl("delete", WEBHOOK, *names, who="kubernetes-admin")
        try:
            said = act.apply(world, act.deployment("past", license={"accept": True, "id": "llama3.1"}))
            assert (said.code, said.err.strip()) == (0, ""), "nobody warned"
            world.wait("the operator", lambda: steps.judged(world, "LicenseMismatch", name="past"), seconds=300)
            assert act.apply(world, act.deployment("past", license={"accept": True, "id": "paddock-demo"})).code == 0
            world.wait("the operator", lambda: steps.judged(world, "AcceptanceMissing", name="past"), seconds=300)
            assert act.pods(world) == []
            assert gateways["the first"].refuses(model="acme/past") == "AcceptanceMissing"
        finally:
            restored = world.folder / "webhooks.json"
            for item in kept:
                item["metadata"] = {"name": item["metadata"]["name"]}
            restored.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": kept}))
            world.kubectl("apply", "-f", str(restored), who="kubernetes-admin")
            world.kubectl("delete", "llamadeployment", "past", "-n", "acme")

    @pytest.mark.parametrize("hours", [1, -1])
    def test_an_operator_with_a_wrong_clock_starts_nothing(self, stack, world, ended, clock, hours):
        other = {
            "HEALTH_PORT": str(free_port()),
            "CACHE_DIR": str(stack.paths.folder("cache") / f"operator{hours}"),
        }
        process = Beside(stack=stack, part="operator", settings=other, clock=clock(hours * HOUR))
        with without(stack, "operator"):
            process.start()
            try:
                act.looked_at(world)
                assert world.condition("LicenseAccepted")["reason"] == "AcceptanceMissing"
                assert act.pods(world) == []
            finally:
                process.stop()


def test_a_namespace_that_belongs_to_nobody(stack, world, licensed, gateways):
    """It is nobody's, then acme's and served, then nobody's again."""
    gateway, name = gateways["the first"], {"model": "stray/smollm2"}
    where = {"name": "smollm2", "namespace": "stray"}
    world.kubectl("create", "namespace", "stray", who="kubernetes-admin")
    try:
        assert "NamespaceUnknown" in act.apply(world, act.deployment(**where), who="kubernetes-admin").err
        act.eventually(lambda: act.judged(world, "NamespaceUnknown", **where), what="the operator")
        assert gateway.refuses(**name) == "model_not_found"
        world.paddock("tenant", "namespace", "add", "acme", "stray")
        assert act.eventually(lambda: gateway.serves(**name), what="an answer", seconds=300)
        world.paddock("tenant", "namespace", "remove", "acme", "stray")
        assert act.eventually(lambda: gateway.refuses(**name), what="a refusal") == "model_not_found"
        act.eventually(lambda: act.judged(world, "NamespaceUnknown", **where), what="the operator")
        act.eventually(
            lambda: not [pod for pod in act.pods(world) if "stray" in pod], what="its pods to go", seconds=300
        )
        assert gateway.refuses(**name) == "model_not_found"
    finally:
        world.paddock("tenant", "namespace", "remove", "acme", "stray", expect=None)
        world.kubectl("delete", "llamadeployment", "smollm2", "-n", "stray", who="kubernetes-admin", expect=None)
        world.kubectl("delete", "namespace", "stray", "--wait=false", who="kubernetes-admin", expect=None)


def _is(found, wanted):
    return found if found == wanted else None
