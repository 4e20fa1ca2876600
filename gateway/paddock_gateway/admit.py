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
from paddock_gateway.choosing import again, permit, ticket_of
from paddock_gateway.deployments import Deployment, Revision
from paddock_gateway.dialects.base import Completion
from paddock_gateway.errors import ArtifactError, RequestError, bad_request, unavailable
from paddock_gateway.holding import Gone, Turn
from paddock_gateway.limiting import group_of, levels_of, nano_of, prices_of, reserve
from paddock_gateway.prompt import PromptModel, tokenize_chat, tokenize_plain
from paddock_gateway.route import Permit, Target, find_target
from paddock_gateway.wiring import Wiring

_JUST_NOW_SECONDS = 0.05
"""So long a verdict stands for one request while policy and routes stay the same: then only time can end a right."""
_DRAWS = 5
"""So often a request may draw; each time the revision that it drew went before it was prepared."""
_MINIMUM_TOP_P = 1e-6
"""Engines take probabilities above 0 alone; OpenAI's 0 means the single most likely token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """A request that passed every check. Its reservation must be settled."""

    target: Target
    revision: Revision
    caller: Caller
    intent: Intent
    reservation: Reservation
    secret: str
    engine_body: bytes
    prompt_model: PromptModel
    output_cap: int
    prices: Buckets | None
    """What its tokens cost, where a limit of money asks; None where none does."""

    def nano(self, *, input_tokens: int, output_tokens: int) -> int:
        """The price of so many tokens, as limits of money count it."""
        return nano_of(self.prices, input_tokens=input_tokens, output_tokens=output_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A parsed request, with what it was asked with. `identify` proves its caller anew."""

    completion: Completion
    identify: Callable[[], Caller]
    dialect: str
    gone: Gone
    random: bytes
    """The random part of its id, by which it draws among revisions."""


async def admit(
    *,
    completion: Completion,
    size: int,
    caller: Caller,
    identify: Callable[[], Caller],
    gone: Gone,
    dialect: str,
    wiring: Wiring,
) -> Admitted:
    """Check everything, cheapest first, and reserve. `gone` comes back when the client left, `size` is of its body in
    bytes. Raises RequestError.

    A request stays with the revision that it drew. Where that goes while it is prepared, it draws anew. Where it has
    to wait for an endpoint, all of this comes again after it.
    """
    random = os.urandom(RANDOM_BYTES)
    asked = Asked(completion=completion, identify=identify, dialect=dialect, gone=gone, random=random)
    turn: Turn | None = None
    draws = 0

    def may() -> None:
        permit(model=completion.model, caller=identify(), ticket=ticket_of(random), wiring=wiring)

    while draws < _DRAWS:
        try:
            outcome = await _prepare(asked, caller, wiring, newcomer=turn is None)
        finally:
            if turn is not None:
                wiring.held.done(turn)
        if isinstance(outcome, Admitted):
            return outcome
        if outcome is None:
            draws += 1
        else:
            tenant = caller.tenant.id
            turn = await wiring.held.wait(outcome, tenant=tenant, gone=gone, size=size, former=turn, may=may)
        caller = identify()
    raise _not_ready(find_target(model=completion.model, caller=caller, routes=wiring.routes, view=wiring.policy.view))


async def _prepare(asked: Asked, caller: Caller, wiring: Wiring, *, newcomer: bool) -> Admitted | Deployment | None:
    """One draw, from choosing to reserving; None if the revision went meanwhile, the deployment if it has to wait.

    One that is no `newcomer` has waited, and nobody stands before it.

    A tokenizer may take seconds to come, and rights may go meanwhile. So `identify` and all checks come again when
    nothing is left to wait for, unless neither policy nor routes nor caller have changed in the moment since: the
    journal alone lies between them and the dispatch.
    """
    now, completion = wiring.clock.wall(), asked.completion
    view, changes, judged_at, first = wiring.policy.view, wiring.routes.changes, wiring.policy.now(), caller
    permit = _permit(asked, caller, wiring)
    model = await _prompt_model(permit.revision, wiring)
    ids = await _tokenize(completion, model, now)
    caller = asked.identify()
    same = caller is first and view is wiring.policy.view and wiring.routes.changes == changes
    if not same or wiring.policy.now() - judged_at > _JUST_NOW_SECONDS:
        still = again(model=completion.model, caller=caller, former=permit, wiring=wiring)
        if still is None:
            return None
        permit = still
    room = _room(permit, len(ids), completion)
    end_user = _end_user(completion.end_user, caller.tenant.id, wiring.platform_key)
    levels = levels_of(caller, end_user)
    prices = prices_of(levels, caller, permit, now, wiring)
    served = permit.revision.model
    cap, reservation, waited = await reserve(completion, served, levels, len(ids), room, now, prices, wiring)
    if waited:
        try:
            caller = asked.identify()
            still = again(model=completion.model, caller=caller, former=permit, wiring=wiring)
        except RequestError:
            wiring.leases.cancel(reservation)
            raise
        if still is None:
            wiring.leases.cancel(reservation)
            return None
        permit = still
    if not permit.revision.endpoints or (newcomer and wiring.held.queued(permit.target.deployment)):
        wiring.leases.cancel(reservation)
        return permit.target.deployment
    intent = _intent(asked, caller, permit, end_user, len(ids), cap, now, wiring)
    deployment = permit.target.deployment
    return Admitted(
        target=permit.target,
        revision=permit.revision,
        caller=caller,
        intent=intent,
        reservation=reservation,
        secret=_secret(wiring.platform_key, deployment.uid, deployment.secret_rotation),
        engine_body=_engine_body(intent.usage_id, ids, cap, completion),
        prompt_model=model,
        output_cap=cap,
        prices=prices,
    )


def _permit(asked: Asked, caller: Caller, wiring: Wiring) -> Permit:
    found = permit(model=asked.completion.model, caller=caller, ticket=ticket_of(asked.random), wiring=wiring)
    if isinstance(found, Target):
        raise _not_ready(found)
    return found


def _room(permit: Permit, prompt: int, completion: Completion) -> int:
    """Tokens that the context leaves for the answer."""
    context = permit.revision.context_length
    if prompt < context:
        return context - prompt
    raise bad_request(
        "context_length_exceeded",
        f"the prompt has {prompt} tokens and the context of {permit.target.deployment.name} holds "
        f"{context}, the answer included: shorten it",
        param="messages" if completion.messages is not None else "prompt",
    )


@lru_cache(maxsize=1024)
def _secret(platform_key: bytes, uid: str, rotation: int) -> str:
    return contract.deployment_secret(platform_key=platform_key, deployment_uid=uid, rotation=rotation)


def _not_ready(target: Target) -> RequestError:
    deployment = target.deployment
    message = (
        f"{deployment.name} is not serving now: try again soon; "
        f"`kubectl -n {deployment.namespace} describe llamadeployment` says how it stands"
    )
    return unavailable("DeploymentNotReady", message, retry_after=2)


async def _prompt_model(revision: Revision, wiring: Wiring) -> PromptModel:
    try:
        return await wiring.prompt_models.get(digest=revision.tokenizer, model=revision.model)
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
    asked: Asked,
    caller: Caller,
    permit: Permit,
    end_user: str | None,
    input_tokens: int,
    cap: int,
    now: float,
    wiring: Wiring,
) -> Intent:
    completion, target = asked.completion, permit.target
    return Intent(
        usage_id=uuid7(unix_ms=int(now * 1000), random=asked.random),
        tenant=caller.tenant.id,
        key_id=caller.key.id,
        owner_tenant=target.owner.id,
        deployment=target.deployment.name,
        model=permit.revision.model,
        dialect=asked.dialect,
        operation=completion.operation,
        stream=completion.stream,
        t_admit=now,
        reserved_tokens=input_tokens + cap,
        input_tokens=input_tokens,
        acceptance_id=permit.acceptance,
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
