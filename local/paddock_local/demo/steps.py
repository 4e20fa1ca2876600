"""The steps of the story, in order. Each one acts as its people would and states what must hold."""

import time
from typing import Any

import openai

from paddock_local.demo.cast import LICENSE, OPERATOR, QUESTION, SERVED, TENANTS, Party, tenant_namespace
from paddock_local.demo.world import StoryError, World

START_SECONDS = 300
REVOKE_SECONDS = 2.0
TEXTS = "examples/licenses/paddock-demo"


def register(world: World) -> None:
    """The platform team registers itself, two more legal entities and their tenants, and accepts as operator."""
    ensure_party(world, OPERATOR, "--operator")
    for tenant, party in TENANTS.items():
        ensure_party(world, party)
        ensure_tenant(world, tenant, party)
    world.paddock("license", "import", LICENSE, "--agreement", f"{TEXTS}/LICENSE", "--aup", f"{TEXTS}/USE_POLICY.md")
    accept(world, party=OPERATOR, role="operator", who="platform")
    shown = world.paddock("license", "list", "--entity", OPERATOR.entity).json
    active = [item for item in shown if item["role"] == "operator" and item["state"] == "active"]
    world.expect(len(active) == 1, "the operator's own entity has accepted, as operator", shown)


def apply_without_license(world: World) -> None:
    """acme applies a deployment that nobody has accepted the license for: a warning, and nothing runs."""
    applied = world.kubectl("apply", "-f", "examples/demo.yaml")
    world.narrator.quote(applied.err)
    world.expect(
        "Warning:" in applied.err and "paddock license offer" in applied.err, "kubectl prints an admission warning"
    )
    found = world.wait("the operator to look at it", lambda: judged(world, "AcceptanceMissing"), seconds=120)
    world.narrator.tell(f"LicenseAccepted={found['status']} {found['reason']}: {found['message']}")
    world.expect(found["status"] == "False", "LicenseAccepted is False", found)
    world.expect("paddock license offer" in found["message"], "the message names the command that mends it", found)
    pods = world.kubectl("get", "pods", "-n", "paddock-serving-acme", "-o", "name", who="kubernetes-admin", expect=None)
    world.expect(not pods.out.strip(), "nothing runs", pods.out)


def accept_license(world: World) -> None:
    """An authorised person of acme accepts through a single-use link; the deployment moves on by itself."""
    began = time.monotonic()
    party = TENANTS["acme"]
    offer = offer_license(world, party=party, role="deployer", who="acme")
    forged = sign(world, token=world.admin_token_file.read_text().strip(), party=party, speaker="platform", expect=3)
    world.expect(
        "signatory" in (forged.err + forged.out).lower(), "the platform's own token cannot accept for acme", forged.err
    )
    sign(world, token=offer["signatory_token"], party=party)
    again = sign(world, token=offer["signatory_token"], party=party, expect=None)
    world.expect(again.code != 0, "the link works once", again.out)
    serving(world)
    world.memory["seconds_to_serving"] = time.monotonic() - began
    phase = world.deployment()["status"]
    world.narrator.tell(f"{phase['phase']}: {phase['servedModelName']} at {phase['url']}")


def chat(world: World) -> None:
    """A chat with OpenAI's own SDK, streamed, then not streamed."""
    client = world.client("acme")
    text, usage = streamed(client, QUESTION)
    world.narrator.tell(f"streamed: {text}")
    world.expect("Lima" in text, "the streamed answer is right", text)
    bill(world, "acme", usage)
    answer = ask(world, "acme")
    world.narrator.tell(f"whole: {answer.choices[0].message.content}")
    world.expect("Lima" in (answer.choices[0].message.content or ""), "the whole answer is right", answer)
    bill(world, "acme", answer.usage)


def share(world: World) -> None:
    """globex is refused, then let in by acme, then accepts the terms, then is served and billed."""
    refused(world, "globex", status=403, code="AccessDenied")
    patch = '{"spec":{"access":{"tenants":["globex"]}}}'
    world.kubectl("patch", "llamadeployment", "smollm2", "-n", "acme", "--type", "merge", "-p", patch)
    world.wait("the gateway to know it", lambda: refusal(world, "globex", code="AcceptanceMissing"), seconds=120)
    world.narrator.holds("let in, globex still lacks an acceptance of its own: 403 AcceptanceMissing")
    accept(world, party=TENANTS["globex"], role="consumer", who="globex")
    answer = world.wait("the gateway to know it", lambda: answered(world, "globex"), seconds=120)
    world.narrator.tell(f"globex asks, and hears: {answer.choices[0].message.content}")
    bill(world, "globex", answer.usage)
    refused(world, "", status=401, code="invalid_api_key")
    world.paddock("quota", "set", "--tenant", "globex", "--requests-per-minute", "1")
    over = world.wait("the quota to be used up", lambda: over_quota(world, "globex"), seconds=120)
    headers = {name: value for name, value in over.response.headers.items() if "ratelimit" in name or "retry" in name}
    world.narrator.tell(f"429: {headers}")
    world.expect(
        "retry-after" in headers and "x-ratelimit-limit-requests" in headers, "429 carries what the SDK obeys", headers
    )


def usage(world: World) -> None:
    """What the ledger says equals, to the token, what the responses said."""
    totals = world.wait("the ledger", lambda: ledger_matches(world), seconds=120)
    for tenant, figures in totals.items():
        world.narrator.tell(
            f"{tenant}: {figures['requests']} requests, {figures['input_tokens']} in, {figures['output_tokens']} out"
        )
    world.narrator.holds("the ledger equals what the responses said, to the token")


def revoke_and_return(world: World) -> None:
    """The license is revoked: the next call is refused within 2 s and the pods go. Accepted again, service returns."""
    accepted = world.paddock("license", "list", "--entity", TENANTS["acme"].entity, who="acme").json
    active = [item for item in accepted if item["role"] == "deployer" and item["state"] == "active"]
    world.paddock("license", "revoke", active[0]["id"], "--reason", "the story", who="acme")
    began = time.monotonic()
    world.wait("the gateway to refuse", lambda: refusal(world, "acme", status=403), seconds=REVOKE_SECONDS)
    world.memory["seconds_to_refusal"] = time.monotonic() - began
    world.narrator.holds(f"the next call is refused {world.memory['seconds_to_refusal']:.2f} s after the revocation")
    world.wait("the pods to go", lambda: True if not serving_pods(world) else None, seconds=120)
    accept(world, party=TENANTS["acme"], role="deployer", who="acme")
    serving(world)
    answer = world.wait("the gateway to serve again", lambda: answered(world, "acme"), seconds=120)
    bill(world, "acme", answer.usage)
    world.narrator.holds("accepted again, service returns by itself")


def large_model(world: World) -> None:
    """Llama 3.1 405B: warned and not run; with another license's name denied; and how it would be sharded."""
    applied = world.kubectl("apply", "-f", "examples/llama-3.1-405b.yaml")
    world.narrator.quote(applied.err)
    world.expect(
        "Warning:" in applied.err and "license import" in applied.err, "405B is admitted with a warning", applied.err
    )
    where = {"name": "llama-31-405b"}
    found = world.wait("the operator to look at it", lambda: judged(world, "TextNotImported", **where), seconds=120)
    world.expect(found["status"] == "False", "and does not run: TextNotImported", found)
    patch = '{"spec":{"license":{"id":"llama2"}}}'
    denied = world.kubectl(
        "patch", "llamadeployment", where["name"], "-n", "acme", "--type", "merge", "-p", patch, expect=1
    )
    world.narrator.quote(denied.err)
    world.expect("LicenseMismatch" in denied.err, "naming another license is denied outright", denied.err)
    plan = world.paddock("plan", "llama-3.1-405b-instruct", "--gpu", "H100-80").json
    world.narrator.tell(plan["explanation"])
    world.expect(
        (plan["tensor_parallel"], plan["pipeline_parallel"]) == (8, 2), "405B in BF16 is planned as TP 8 x PP 2", plan
    )


STEPS = (
    register, apply_without_license, accept_license, chat, share, usage, revoke_and_return, large_model,
)  # fmt: skip


def ensure_party(world: World, party: Party, *options: str) -> None:
    """Register a legal entity, or find it registered by an earlier run."""
    if party.entity in {item["id"] for item in world.paddock("entity", "list").json}:
        return
    world.paddock("entity", "create", party.entity, "--legal-name", party.legal_name, "--place", "US", *options)


def ensure_tenant(world: World, tenant: str, party: Party) -> None:
    """Register a tenant with its namespace and key; its credentials stay in the story's private folder."""
    if tenant not in {item["id"] for item in world.paddock("tenant", "list").json}:
        created = world.paddock("tenant", "create", tenant, "--entity", party.entity).json
        world.keep_secret(f"{tenant}-admin", created["admin_token"])
    manifest = world.folder / f"{tenant}.yaml"
    manifest.write_text(tenant_namespace(tenant))
    world.kubectl("apply", "-f", str(manifest), who="kubernetes-admin")
    world.paddock("tenant", "namespace", "add", tenant, tenant)
    world.wait(f"{tenant} to have rights there", lambda: world.may_deploy(tenant) or None, seconds=120)
    world.paddock("quota", "set", "--tenant", tenant, "--requests-per-minute", "600")
    world.keep_secret(
        f"{tenant}-key", world.paddock("key", "create", "--tenant", tenant, "--name", "story").json["key"]
    )


def offer_license(world: World, *, party: Party, role: str, who: str) -> dict[str, Any]:
    """Ask for an offer with a single-use signatory link."""
    person = f"{party.signatory} <{party.email}>"
    words = ("--license", LICENSE, "--role", role, "--entity", party.entity, "--signatory", person)
    offer: dict[str, Any] = world.paddock("license", "offer", *words, who=who).json
    return offer


def sign(world: World, *, token: str, party: Party, speaker: str = "", expect: int | None = 0) -> Any:
    """Accept as the named person."""
    person = ("--name", party.signatory, "--title", party.title, "--email", party.email)
    said = (
        "--authority",
        "authorised to bind the entity",
        "--jurisdiction",
        "US",
        "--mau-band",
        "le_700m",
        "--flow-down",
    )
    words = ("license", "accept", *person, *said, "--agree")
    typed_by = speaker or party.signatory.split()[0].lower()
    return world.paddock(*words, signatory=token, speaker=typed_by, expect=expect)


def accept(world: World, *, party: Party, role: str, who: str) -> None:
    """Offer and accept in one go."""
    sign(world, token=offer_license(world, party=party, role=role, who=who)["signatory_token"], party=party)


def judged(world: World, reason: str, **where: str) -> dict[str, Any] | None:
    """The license condition once it has this reason."""
    found = world.condition("LicenseAccepted", **where)
    return found if found["reason"] == reason else None


def serving(world: World) -> None:
    """Wait until the deployment serves, telling each condition as it turns true."""
    for kind in ("LicenseAccepted", "Planned", "WeightsReady", "Serving"):
        world.wait(kind, lambda kind=kind: world.condition(kind)["status"] == "True" or None, seconds=START_SECONDS)  # type: ignore[misc]


def serving_pods(world: World) -> list[str]:
    """Names of acme's serving pods."""
    arguments = ("get", "pods", "-n", "paddock-serving-acme", "-o", "name")
    return world.kubectl(*arguments, who="kubernetes-admin").out.split()


def streamed(client: openai.OpenAI, question: str) -> tuple[str, Any]:
    """The whole text of a streamed answer, and its usage chunk."""
    pieces: list[str] = []
    usage_chunk = None
    messages: Any = [{"role": "user", "content": question}]
    options: Any = {"include_usage": True}
    for chunk in client.chat.completions.create(
        model=SERVED, messages=messages, max_tokens=48, temperature=0, stream=True, stream_options=options
    ):
        usage_chunk = chunk.usage or usage_chunk
        pieces.extend(choice.delta.content or "" for choice in chunk.choices)
    return "".join(pieces), usage_chunk


def ask(world: World, tenant: str, *, tokens: int = 24) -> Any:
    """One short request. Raises the SDK's own errors."""
    messages: Any = [{"role": "user", "content": QUESTION}]
    headers = {} if tenant else {"Authorization": openai.Omit()}
    return world.client(tenant).chat.completions.create(
        model=SERVED, messages=messages, max_tokens=tokens, temperature=0, extra_headers=headers
    )


def answered(world: World, tenant: str) -> Any | None:
    """The answer, or None while the request is refused."""
    try:
        return ask(world, tenant)
    except (openai.PermissionDeniedError, openai.APIStatusError):
        return None


def attempt(world: World, tenant: str) -> openai.APIStatusError:
    """The refusal of a request. A request that is served is billed, and raises StoryError."""
    try:
        answer = ask(world, tenant)
    except openai.APIStatusError as error:
        return error
    bill(world, tenant, answer.usage)
    raise StoryError(f"{tenant or 'nobody'} was served but must not be")


def refused(world: World, tenant: str, *, status: int, code: str) -> None:
    """State that a request is refused with this status and code."""
    error = attempt(world, tenant)
    world.narrator.tell(f"{tenant or 'without a key'}: {error.status_code} {error.message}")
    world.expect((error.status_code, error.code) == (status, code), f"refused with {status} {code}", error.message)


def refusal(world: World, tenant: str, *, status: int = 403, code: str | None = None) -> Any | None:
    """The refusal once it has this status and code; requests served before are billed."""
    try:
        answer = ask(world, tenant)
    except openai.APIStatusError as error:
        return error if error.status_code == status and code in (None, error.code) else None
    bill(world, tenant, answer.usage)
    return None


def over_quota(world: World, tenant: str) -> openai.APIStatusError | None:
    """The 429 that comes once the quota is used up."""
    error = refusal(world, tenant, status=429)
    return error if error is not None else None


def bill(world: World, tenant: str, used: Any) -> None:
    """Remember what a response said it cost."""
    mine = world.memory.setdefault("billed", {}).setdefault(
        tenant, {"requests": 0, "input_tokens": 0, "output_tokens": 0}
    )
    mine["requests"] += 1
    mine["input_tokens"] += used.prompt_tokens
    mine["output_tokens"] += used.completion_tokens


def ledger(world: World) -> dict[str, dict[str, int]]:
    """Requests and tokens by tenant, as the ledger has them."""
    rows = world.paddock("usage", "--group-by", "tenant").json["rows"]
    names = ("requests", "input_tokens", "output_tokens")
    return {row["tenant"]: {name: row[name] for name in names} for row in rows}


def ledger_matches(world: World) -> dict[str, dict[str, int]] | None:
    """What was used since the story began, once it equals what the responses said."""
    before: dict[str, dict[str, int]] = world.memory["ledger_before"]
    nothing = {"requests": 0, "input_tokens": 0, "output_tokens": 0}
    now = ledger(world)
    since = {
        tenant: {name: now.get(tenant, nothing)[name] - before.get(tenant, nothing)[name] for name in nothing}
        for tenant in world.memory["billed"]
    }
    return since if since == world.memory["billed"] else None
