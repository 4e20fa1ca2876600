"""Charges in the columns of FOCUS 1.2 (the FinOps Open Cost and Usage Specification), one row a token bucket.

Amounts are exact decimals as text. Costs of one charge period add up to the nano-unit, since they are sums of the rows'
own costs. Where a tenant has a price of its own, that is the list price here too: there is no other it is billed by.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from paddock_core.usage.money import NANO, PER_TOKENS, format_amount
from paddock_core.usage.prices import Price
from paddock_core.usage.statements import month_bounds

ADJUSTMENT = "adjustment"
"""The bucket of what a correction changed beside the tokens' price."""
SERVICE = "Language model inference"


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What one bucket came to in one period. Times are Unix seconds, costs nano-units."""

    start: float
    end: float
    tenant: str
    tenant_name: str
    project: str
    key_id: str
    model: str
    deployment: str
    bucket: str
    correction: bool
    tokens: int
    cost_nano: int
    price_id: str | None
    price: Price | None
    provider: str
    currency: str
    """Of a charge without a price: the price book's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FocusRow:
    """Columns as the specification names them; those with x_ are our own. None is null."""

    BilledCost: str
    EffectiveCost: str
    ListCost: str
    ContractedCost: str
    BillingAccountId: str
    BillingAccountName: str
    BillingAccountType: str
    BillingCurrency: str
    BillingPeriodStart: str
    BillingPeriodEnd: str
    ChargePeriodStart: str
    ChargePeriodEnd: str
    ChargeCategory: str
    ChargeClass: str | None
    ChargeDescription: str
    ChargeFrequency: str
    ConsumedQuantity: str | None
    ConsumedUnit: str | None
    ContractedUnitPrice: str | None
    InvoiceIssuerName: str
    ListUnitPrice: str | None
    PricingCategory: str | None
    PricingQuantity: str | None
    PricingUnit: str | None
    ProviderName: str
    PublisherName: str
    ResourceId: str
    ResourceName: str
    ResourceType: str
    ServiceCategory: str
    ServiceName: str
    ServiceSubcategory: str
    SkuId: str | None
    SkuMeter: str
    SkuPriceId: str | None
    SubAccountId: str | None
    SubAccountName: str | None
    SubAccountType: str | None
    x_ApiKeyId: str  # noqa: N815 - FOCUS wants columns of our own to begin so
    x_Unpriced: bool  # noqa: N815


DECIMALS = (
    *("BilledCost", "EffectiveCost", "ListCost", "ContractedCost", "ConsumedQuantity", "ContractedUnitPrice"),
    *("ListUnitPrice", "PricingQuantity"),
)
"""Columns whose text is a number."""


def focus_row(charge: Charge) -> FocusRow:
    """The charge as FOCUS shows it. Without a price it costs nothing, which `x_Unpriced` tells apart."""
    cost = format_amount(charge.cost_nano)
    adjusted = charge.bucket == ADJUSTMENT
    unit_price = None if adjusted else _unit_price(charge)
    quantity = None if adjusted else str(charge.tokens)
    month = datetime.fromtimestamp(charge.start, UTC).strftime("%Y-%m")
    period_start, period_end = month_bounds(month)
    return FocusRow(
        BilledCost=cost,
        EffectiveCost=cost,
        ListCost=cost,
        ContractedCost=cost,
        BillingAccountId=charge.tenant,
        BillingAccountName=charge.tenant_name,
        BillingAccountType="Tenant",
        BillingCurrency=charge.price.currency if charge.price else charge.currency,
        BillingPeriodStart=_moment(period_start),
        BillingPeriodEnd=_moment(period_end),
        ChargePeriodStart=_moment(charge.start),
        ChargePeriodEnd=_moment(charge.end),
        ChargeCategory="Adjustment" if adjusted else "Usage",
        ChargeClass="Correction" if charge.correction else None,
        ChargeDescription=f"{charge.bucket} of {charge.model} on {charge.deployment}",
        ChargeFrequency="Usage-Based",
        ConsumedQuantity=quantity,
        ConsumedUnit=None if adjusted else "Tokens",
        ContractedUnitPrice=unit_price,
        InvoiceIssuerName=charge.provider,
        ListUnitPrice=unit_price,
        PricingCategory="Standard" if unit_price is not None else None,
        PricingQuantity=None if adjusted else _millions(charge.tokens),
        PricingUnit=None if adjusted else f"{PER_TOKENS} Tokens",
        ProviderName=charge.provider,
        PublisherName=charge.provider,
        ResourceId=charge.deployment,
        ResourceName=charge.deployment,
        ResourceType="Deployment",
        ServiceCategory="AI and Machine Learning",
        ServiceName=SERVICE,
        ServiceSubcategory="Generative AI",
        SkuId=charge.model or None,
        SkuMeter=charge.bucket,
        SkuPriceId=charge.price_id,
        SubAccountId=charge.project or None,
        SubAccountName=charge.project or None,
        SubAccountType="Project" if charge.project else None,
        x_ApiKeyId=charge.key_id,
        x_Unpriced=charge.price is None,
    )


def _unit_price(charge: Charge) -> str | None:
    if charge.price is None or charge.price.prices is None:
        return None
    return format_amount(getattr(charge.price.prices, charge.bucket))


def _millions(tokens: int) -> str:
    return format_amount(tokens * (NANO // PER_TOKENS))


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
