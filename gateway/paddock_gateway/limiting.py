"""Limits at the edge: which levels a request counts against, what it may cost, and how a refusal is told."""

import math

from paddock_core.policy.documents import Limits, Tenant
from paddock_core.quotas.holdings import Plan, Reservation
from paddock_core.quotas.kinds import BUDGET, KINDS
from paddock_core.quotas.levels import Level, Refusal, output_cap
from paddock_core.usage.buckets import Buckets
from paddock_core.usage.money import tokens_cost
from paddock_core.usage.prices import Tariff

from paddock_gateway.authenticate import Caller
from paddock_gateway.dialects.base import Completion
from paddock_gateway.errors import INSUFFICIENT_QUOTA, RATE_LIMIT, RequestError, unavailable
from paddock_gateway.route import Permit
from paddock_gateway.wiring import Wiring

_NO_LIMITS = Limits()
OTHER_GROUP = "other"


def levels_of(caller: Caller, end_user: str | None) -> tuple[Level, ...]:
    """The caller's levels, and the end user's where the tenant limits those."""
    tenant = caller.tenant
    if end_user is None or tenant.end_user_limits == _NO_LIMITS:
        return caller.levels
    return (*caller.levels, Level(id=f"user:{tenant.id}:{end_user}", limits=tenant.end_user_limits))


def group_of(asked: str | None, tenant: Tenant) -> str | None:
    """The group in which a request is reported: one that the tenant has named, so there are never more than these."""
    if asked is None or not tenant.end_user_groups:
        return None
    return asked if asked in tenant.end_user_groups else OTHER_GROUP


def prices_of(levels: tuple[Level, ...], caller: Caller, permit: Permit, now: float, wiring: Wiring) -> Buckets | None:
    """What its tokens cost the caller, if a level limits money. Raises RequestError where no price is set."""
    limited = next((level for level in levels if level.limits.money_per_month_nano is not None), None)
    if limited is None:
        return None
    deployment = permit.target.deployment
    book = wiring.policy.view.price_book()
    tariff: Tariff | None = book.at(
        tenant=caller.tenant.id, deployment=deployment.name, model=permit.revision.model, moment=now
    )
    if tariff is None:
        raise unavailable(
            "PriceUnknown",
            f"{deployment.name} has no price, and money is limited for the {limited.id.partition(':')[0]}: "
            "the platform team sets one with `paddock price set`",
            retry_after=60,
        )
    return tariff.prices


def nano_of(prices: Buckets | None, *, input_tokens: int, output_tokens: int) -> int:
    """What tokens cost, in nano-units, rounded as in the ledger."""
    if prices is None:
        return 0
    given = tokens_cost(tokens=input_tokens, price=prices.input_uncached)
    return given + tokens_cost(tokens=output_tokens, price=prices.output_text)


async def reserve(
    completion: Completion,
    model: str,
    levels: tuple[Level, ...],
    input_tokens: int,
    room: int,
    now: float,
    prices: Buckets | None,
    wiring: Wiring,
) -> tuple[int, Reservation, bool]:
    """The output cap and what is reserved, and whether that took waiting. Raises RequestError (429, 503)."""
    view, leases = wiring.policy.view, wiring.leases
    settings = wiring.settings
    default = settings.default_max_output_tokens_of.get(model, settings.default_max_output_tokens)
    cap = output_cap(levels=levels, asked=completion.max_tokens, default=default, room=room, input_tokens=input_tokens)
    if isinstance(cap, Refusal):
        raise over_limit(cap, headers=limit_headers(leases.plan(levels=levels, source=view, wall=now), wiring))
    first = min(cap, settings.extension_tokens)
    nano = nano_of(prices, input_tokens=input_tokens, output_tokens=first)
    outcome, waited = await leases.reserve(
        levels=levels, source=view, wall=now, input_tokens=input_tokens, output_cap=cap, first_output=first, nano=nano
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
