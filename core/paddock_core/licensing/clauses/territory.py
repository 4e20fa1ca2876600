"""Some rights are not given to entities established in a territory, for models of some modality.

What counts is the principal place of business or domicile, never the server's region or a caller's address.
"""

from paddock_core.licensing.case import PASSED, Case, Verdict
from paddock_core.licensing.types import Reason, Role

TYPES = ("territory",)

AREAS: dict[str, frozenset[str]] = {
    "EU": frozenset(
        {
            *("AT", "BE", "BG", "HR", "CY", "CZ", "DK", "EE", "FI", "FR", "DE", "GR", "HU", "IE"),
            *("IT", "LV", "LT", "LU", "MT", "NL", "PL", "PT", "RO", "SK", "SI", "ES", "SE"),
        }
    ),
}
"""ISO 3166-1 alpha-2 codes of each named area. The European Union is not the European Economic Area."""

_RESTRICTED_ROLES = (Role.OPERATOR.value, Role.DEPLOYER.value)


def check(case: Case) -> Verdict:
    """Consumers and end users use somebody's service and exercise none of the barred rights."""
    params = case.clause.params
    barred = set().union(*(AREAS.get(name, frozenset((name,))) for name in params["not_in"]))
    if case.role.value not in params.get("roles", _RESTRICTED_ROLES):
        return PASSED
    place = case.entity.principal_place_of_business
    if place and place not in barred:
        return PASSED
    return Verdict(
        reason=Reason.TERRITORY_DENIED,
        message=f"{case.license.title} gives no rights in {case.model.title} to {case.entity.id}, whose principal "
        f"place of business is {place or 'not recorded'}: choose a model without this bar",
        mendable=False,
    )
