"""Some rights are not given to entities established in a territory, for models of some modality.

What counts is the principal place of business or domicile, never the server's region or a caller's address. A code that
names no country is no place on record, and what is not on record is denied.
"""

from paddock_core.catalog.areas import countries, known_countries
from paddock_core.licensing.case import PASSED, Case, Verdict
from paddock_core.licensing.types import Reason, Role

TYPES = ("territory",)

_RESTRICTED_ROLES = (Role.OPERATOR.value, Role.DEPLOYER.value)


def check(case: Case) -> Verdict:
    """Consumers and end users use somebody's service and exercise none of the barred rights."""
    params = case.clause.params
    barred = countries(names=tuple(params["not_in"]))
    if case.role.value not in params.get("roles", _RESTRICTED_ROLES):
        return PASSED
    place, domicile = case.entity.principal_place_of_business, case.entity.domicile
    known = known_countries()
    lost = next((code for code in (place, domicile) if code and code not in known), None)
    if place and lost is None and barred.isdisjoint((place, domicile)):
        return PASSED
    where = f"{lost}, no code of a country" if lost else domicile if place and place not in barred else place
    return Verdict(
        reason=Reason.TERRITORY_DENIED,
        message=f"{case.license.title} gives no rights in {case.model.title} to {case.entity.id}, whose principal "
        f"place of business or domicile is {where or 'not recorded'}: choose a model without this bar",
        mendable=False,
    )
