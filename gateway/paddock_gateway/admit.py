"""Admission: from a parsed request and a proved caller to work that may be journalled and dispatched."""

import hashlib
import hmac
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from paddock_core.policy.documents import Limits
from paddock_core.quotas.holdings import Plan, Reservation
from paddock_core.quotas.kinds import BUDGET, KINDS
from paddock_core.quotas.levels import Level, Refusal, output_cap
from paddock_core.serving import contract
from paddock_core.usage.identifiers import RANDOM_BYTES, uuid7
from paddock_core.usage.journal_frames import Intent

from paddock_gateway.authenticate import Caller
from paddock_gateway.dialects.base import Completion
from paddock_gateway.errors import INSUFFICIENT_QUOTA, RATE_LIMIT, ArtifactError, RequestError, bad_request, unavailable
from paddock_gateway.prompt import PromptModel, tokenize_chat, tokenize_plain
from paddock_gateway.route import Target, find_target
from paddock_gateway.wiring import Wiring

_NO_LIMITS = Limits()
_MINIMUM_TOP_P = 1e-6
"""Engines take probabilities above 0 alone; OpenAI's 0 means the single most likely token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """A request that passed every check. Its reservation must be settled."""

    target: Target
    caller: Caller
    intent: Intent
    reservation: Reservation
    endpoints: tuple[str, ...]
    secret: str
    engine_body: bytes
    prompt_model: PromptModel
    output_cap: int


async def admit(
    *, completion: Completion, caller: Caller, identify: Callable[[], Caller], dialect: str, wiring: Wiring
) -> Admitted:
    """Check everything, cheapest first, and reserve. Raises RequestError.

    A tokenizer may take seconds to come, and rights may go meanwhile. So `identify`, which proves the caller anew, and
    all checks come again when nothing is left to wait for: the journal alone lies between them and the dispatch.
    """
    now = wiring.clock.wall()
    target, _ = _permit(completion, caller, wiring)
    model = await _prompt_model(target, wiring)
    ids = await _tokenize(completion, model, now)
    tokenizer, caller = target.deployment.tokenizer, identify()
    target, acceptance = _permit(completion, caller, wiring)
    if target.deployment.tokenizer != tokenizer or not target.deployment.endpoints:
        raise _not_ready(target, "has just changed")
    room = target.deployment.context_length - len(ids)
    if room < 1:
        raise bad_request(
            "context_length_exceeded",
            f"the prompt has {len(ids)} tokens and the context of {target.deployment.name} holds "
            f"{target.deployment.context_length}, the answer included: shorten it",
            param="messages" if completion.messages is not None else "prompt",
        )
    end_user = _end_user(completion.end_user, caller.tenant.id, wiring.platform_key)
    cap, reservation, waited = await _reserve(completion, caller, end_user, len(ids), room, now, wiring)
    if waited:
        try:
            caller = identify()
            target, acceptance = _permit(completion, caller, wiring)
            if target.deployment.tokenizer != tokenizer or not target.deployment.endpoints:
                raise _not_ready(target, "has just changed")
        except RequestError:
            wiring.leases.settle(reservation, input_tokens=0, output_tokens=0)
            raise
    intent = _intent(completion, caller, target, dialect, acceptance, end_user, len(ids), cap, now, wiring)
    return Admitted(
        target=target,
        caller=caller,
        intent=intent,
        reservation=reservation,
        endpoints=target.deployment.endpoints,
        secret=contract.deployment_secret(
            platform_key=wiring.platform_key,
            deployment_uid=target.deployment.uid,
            rotation=target.deployment.secret_rotation,
        ),
        engine_body=_engine_body(intent.usage_id, ids, cap, completion),
        prompt_model=model,
        output_cap=cap,
    )


def _permit(completion: Completion, caller: Caller, wiring: Wiring) -> tuple[Target, str]:
    """Where the caller may send this by the rights of this moment, and the acceptance under which."""
    view = wiring.policy.view
    target = find_target(model=completion.model, caller=caller, routes=wiring.routes, view=view)
    acceptance = wiring.licenses.check(target=target, caller=caller, view=view, now=wiring.policy.now())
    return target, acceptance


def _not_ready(target: Target, why: str) -> RequestError:
    deployment = target.deployment
    message = (
        f"{deployment.name} {why}: try again soon; "
        f"`kubectl -n {deployment.namespace} describe llamadeployment` says how it stands"
    )
    return unavailable("DeploymentNotReady", message, retry_after=2)


async def _prompt_model(target: Target, wiring: Wiring) -> PromptModel:
    deployment = target.deployment
    if deployment.tokenizer is None or not deployment.endpoints:
        raise _not_ready(target, "is not serving yet")
    try:
        return await wiring.prompt_models.get(digest=deployment.tokenizer, model=deployment.model)
    except ArtifactError as error:
        raise unavailable("TokenizerUnavailable", f"{error}: try again soon", retry_after=2) from error


async def _tokenize(completion: Completion, model: PromptModel, now: float) -> list[int]:
    if completion.messages is not None:
        return await tokenize_chat(model, completion.messages, now=datetime.fromtimestamp(now, UTC))
    ids = await tokenize_plain(model, completion.prompt or "")
    if not ids:
        raise bad_request("invalid_value", "the prompt is empty", param="prompt")
    return ids


async def _reserve(
    completion: Completion,
    caller: Caller,
    end_user: str | None,
    input_tokens: int,
    room: int,
    now: float,
    wiring: Wiring,
) -> tuple[int, Reservation, bool]:
    """The output cap and what is reserved, and whether that took waiting. Raises RequestError (429, 503)."""
    levels, view, leases = caller.levels, wiring.policy.view, wiring.leases
    if end_user is not None and caller.tenant.end_user_limits != _NO_LIMITS:
        levels = (*levels, Level(id=f"user:{caller.tenant.id}:{end_user}", limits=caller.tenant.end_user_limits))
    default = wiring.settings.default_max_output_tokens
    cap = output_cap(levels=levels, asked=completion.max_tokens, default=default, room=room, input_tokens=input_tokens)
    if isinstance(cap, Refusal):
        raise over_limit(cap, headers=limit_headers(leases.plan(levels=levels, source=view, wall=now), wiring))
    first = min(cap, wiring.settings.extension_tokens)
    outcome, waited = await leases.reserve(
        levels=levels, source=view, wall=now, input_tokens=input_tokens, output_cap=cap, first_output=first
    )
    if isinstance(outcome, Refusal):
        raise over_limit(outcome, headers=limit_headers(leases.plan(levels=levels, source=view, wall=now), wiring))
    return cap, outcome, waited


def over_limit(refusal: Refusal, *, headers: tuple[tuple[bytes, bytes], ...]) -> RequestError:
    """A 429 as OpenAI's SDK obeys it: it waits as told, and does not retry what can never fit or is used up.

    A 503 where the limit may not be reached at all, but this gateway is cut off and holds nothing of it.
    """
    level = refusal.level.partition(":")[0]
    level = "end user" if level == "user" else level
    name = refusal.limit_name.replace("_", " ")
    kind = KINDS.get(refusal.limit_name)
    if refusal.cut_off and kind is not None and kind.shape == BUDGET:
        message = (
            f"the {level}'s {name} cannot be asked about: this gateway is cut off from the control plane; try later"
        )
        return unavailable("QuotaUnavailable", message, retry_after=2)
    final = (b"x-should-retry", b"false")
    code, type_ = "rate_limit_exceeded", RATE_LIMIT
    if refusal.limit <= 0:
        message = f"the {level}'s limit of {name} is 0, so nothing can be admitted: ask whoever sets its limits"
        headers = (*headers, final)
    elif refusal.retry_after is None:
        message = f"request too large: {refusal.asked} {name} asked, the {level}'s limit is {refusal.limit}"
        headers = (*headers, final)
    elif kind is not None and kind.shape == BUDGET:
        code = type_ = INSUFFICIENT_QUOTA
        message = (
            f"the {level}'s limit of {refusal.limit} {name} is used up or reserved: "
            f"ask whoever sets its limits, or wait until the {kind.span} ends (UTC)"
        )
        headers = (*headers, final, (b"retry-after", str(math.ceil(refusal.retry_after / 1e9)).encode()))
    else:
        seconds = refusal.retry_after / 1e9
        message = (
            f"limit of {refusal.limit} {name} of this {level} reached: try again in {duration(refusal.retry_after)}"
        )
        headers = (
            *headers,
            (b"retry-after", str(max(1, math.ceil(seconds))).encode()),
            (b"retry-after-ms", str(max(1, math.ceil(seconds * 1000))).encode()),
        )
    return RequestError(status=429, code=code, message=message, type=type_, headers=headers)


def limit_headers(plan: Plan, wiring: Wiring) -> tuple[tuple[bytes, bytes], ...]:
    """OpenAI's rate-limit headers, from the same state that admission uses. Absent limits have none."""
    now, holdings = wiring.clock.steady_ns(), wiring.leases.holdings
    headers: list[tuple[bytes, bytes]] = []
    for name, headroom in (
        (b"requests", holdings.requests_headroom(plan, now=now)),
        (b"tokens", holdings.tokens_headroom(plan, now=now)),
    ):
        if headroom is not None:
            headers.append((b"x-ratelimit-limit-" + name, str(headroom.limit).encode()))
            headers.append((b"x-ratelimit-remaining-" + name, str(headroom.remaining).encode()))
            headers.append((b"x-ratelimit-reset-" + name, duration(headroom.reset).encode()))
    return tuple(headers)


def duration(nanoseconds: int) -> str:
    """As OpenAI writes it: 12ms, 1.5s, 2m3s."""
    milliseconds = math.ceil(nanoseconds / 1_000_000)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    seconds = f"{rest / 1000:g}s"
    return f"{minutes}m{seconds}" if minutes else seconds


def _intent(
    completion: Completion,
    caller: Caller,
    target: Target,
    dialect: str,
    acceptance: str,
    end_user: str | None,
    input_tokens: int,
    cap: int,
    now: float,
    wiring: Wiring,
) -> Intent:
    return Intent(
        usage_id=uuid7(unix_ms=int(now * 1000), random=os.urandom(RANDOM_BYTES)),
        tenant=caller.tenant.id,
        key_id=caller.key.id,
        owner_tenant=target.owner.id,
        deployment=target.deployment.name,
        model=target.deployment.model,
        dialect=dialect,
        operation=completion.operation,
        stream=completion.stream,
        t_admit=now,
        reserved_tokens=input_tokens + cap,
        input_tokens=input_tokens,
        acceptance_id=acceptance,
        end_user_hash=end_user,
        project=caller.key.project or None,
        gateway_instance=wiring.settings.instance,
        journal_seq=wiring.journal.next_sequence(),
    )


def _end_user(end_user: str | None, tenant: str, key: bytes) -> str | None:
    """A keyed hash: the same person of one tenant can be counted, and nobody can be told from it."""
    if end_user is None:
        return None
    return hmac.new(key, f"end-user:{tenant}:{end_user}".encode(), hashlib.sha256).hexdigest()


def _engine_body(usage_id: str, ids: list[int], cap: int, completion: Completion) -> bytes:
    """Always streamed: so the count is known whenever a client leaves."""
    sampling = completion.sampling
    body: dict[str, Any] = {
        "id": usage_id,
        contract.INPUT_IDS: ids,
        contract.STREAMING: True,
        contract.MAX_TOKENS: cap,
    }
    optional = {
        contract.TEMPERATURE: sampling.temperature,
        contract.TOP_P: None if sampling.top_p is None else max(sampling.top_p, _MINIMUM_TOP_P),
        contract.TOP_K: sampling.top_k,
        contract.SEED: sampling.seed,
        contract.FREQUENCY_PENALTY: sampling.frequency_penalty,
        contract.PRESENCE_PENALTY: sampling.presence_penalty,
        contract.STOP_WORDS: list(sampling.stop) or None,
    }
    body.update({name: value for name, value in optional.items() if value is not None})
    return msgspec.json.encode(body)
