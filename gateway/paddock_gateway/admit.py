"""Admission: from a parsed request and a proved caller to work that may be journalled and dispatched."""

import hashlib
import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec
from paddock_core.quotas.holdings import Reservation
from paddock_core.serving import contract
from paddock_core.usage.buckets import Buckets
from paddock_core.usage.identifiers import RANDOM_BYTES, uuid7
from paddock_core.usage.journal_frames import Intent

from paddock_gateway.authenticate import Caller
from paddock_gateway.dialects.base import Completion
from paddock_gateway.errors import ArtifactError, RequestError, bad_request, unavailable
from paddock_gateway.limiting import group_of, levels_of, nano_of, prices_of, reserve
from paddock_gateway.prompt import PromptModel, tokenize_chat, tokenize_plain
from paddock_gateway.route import Target, find_target
from paddock_gateway.wiring import Wiring

_JUST_NOW_SECONDS = 0.05
"""So long a verdict stands for one request while policy and routes stay the same: then only time can end a right."""
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
    prices: Buckets | None
    """What its tokens cost, where a limit of money asks; None where none does."""

    def nano(self, *, input_tokens: int, output_tokens: int) -> int:
        """The price of so many tokens, as limits of money count it."""
        return nano_of(self.prices, input_tokens=input_tokens, output_tokens=output_tokens)


async def admit(
    *, completion: Completion, caller: Caller, identify: Callable[[], Caller], dialect: str, wiring: Wiring
) -> Admitted:
    """Check everything, cheapest first, and reserve. Raises RequestError.

    A tokenizer may take seconds to come, and rights may go meanwhile. So `identify`, which proves the caller anew, and
    all checks come again when nothing is left to wait for, unless neither policy nor routes nor caller have changed in
    the moment since: the journal alone lies between them and the dispatch.
    """
    now = wiring.clock.wall()
    view, changes, judged_at, first = wiring.policy.view, wiring.routes.changes, wiring.policy.now(), caller
    target, acceptance = _permit(completion, caller, wiring)
    model = await _prompt_model(target, wiring)
    ids = await _tokenize(completion, model, now)
    tokenizer, caller = target.deployment.tokenizer, identify()
    same = caller is first and view is wiring.policy.view and wiring.routes.changes == changes
    if not same or wiring.policy.now() - judged_at > _JUST_NOW_SECONDS:
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
    levels = levels_of(caller, end_user)
    prices = prices_of(levels, caller, target, now, wiring)
    served = target.deployment.model
    cap, reservation, waited = await reserve(completion, served, levels, len(ids), room, now, prices, wiring)
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
        secret=_secret(wiring.platform_key, target.deployment.uid, target.deployment.secret_rotation),
        engine_body=_engine_body(intent.usage_id, ids, cap, completion),
        prompt_model=model,
        output_cap=cap,
        prices=prices,
    )


@lru_cache(maxsize=1024)
def _secret(platform_key: bytes, uid: str, rotation: int) -> str:
    return contract.deployment_secret(platform_key=platform_key, deployment_uid=uid, rotation=rotation)


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
        end_user_group=group_of(completion.end_user_group, caller.tenant),
        gateway_instance=wiring.settings.instance,
        journal_seq=wiring.journal.next_sequence(),
    )


def _end_user(end_user: str | None, tenant: str, key: bytes) -> str | None:
    """A keyed hash: the same person of one tenant can be counted, and nobody can be told from it."""
    if end_user is None:
        return None
    keyed = _keyed(key).copy()
    keyed.update(f"end-user:{tenant}:{end_user}".encode())
    return keyed.hexdigest()


@lru_cache(maxsize=1)
def _keyed(key: bytes) -> hmac.HMAC:
    return hmac.new(key, digestmod=hashlib.sha256)


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
