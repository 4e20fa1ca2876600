"""From estimates of tenants to what is known of an entity, and how near it comes to a license's threshold.

The hashes of two tenants are keyed differently, so a person who uses both cannot be recognised. What is known of their
entity is a span: at least the largest tenant (everybody may be the same), at most the sum (nobody is).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from paddock_core.active_users.sketch import Estimate
from paddock_core.catalog.types import LicenseEntry
from paddock_core.licensing.clauses.threshold import TYPES

PERCENTS = (50, 75, 90)
"""Shares of a threshold at which its nearness is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Distinct users of an entity: between `low` and `high`, the confidence of each tenant's estimate included."""

    low: int
    high: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """A license's number of monthly active users."""

    license: str
    value: int


def span_of(tenants: Iterable[Estimate]) -> Span:
    """The span of an entity from the estimates of its tenants."""
    found = list(tenants)
    return Span(low=max((item.low for item in found), default=0), high=sum(item.high for item in found))


def threshold_of(license_entry: LicenseEntry) -> Threshold | None:
    """The threshold that a license names, if it does: the lowest, should it name several."""
    values = [int(clause.params["value"]) for clause in license_entry.clauses if clause.type in TYPES]
    return Threshold(license=license_entry.id, value=min(values)) if values else None


def reached(span: Span, threshold: Threshold) -> tuple[int, ...]:
    """The percentages of the threshold that the entity may have reached: its highest possible figure counts."""
    return tuple(percent for percent in PERCENTS if span.high * 100 >= threshold.value * percent)
