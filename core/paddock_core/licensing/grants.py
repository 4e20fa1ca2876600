"""Whether a vendor's grant covers what is asked, now."""

from paddock_core.licensing.case import Case, Verdict
from paddock_core.licensing.types import Reason
from paddock_core.policy.documents import Grant


def granted(case: Case, *, why: str) -> Verdict:
    """Allowed until the grant ends, where one is in force. `why` says in the denial's message what needs the grant.

    A grant covers the licenses, and the models where it names some, that it lists: never a later version.
    """
    now = case.request.at
    grants = [grant for grant in case.index.grants(case.entity.id, case.license.id) if _covers(case, grant)]
    valid = [grant for grant in grants if grant.valid_from <= now < grant.valid_to]
    if valid:
        return Verdict(until=valid[0].valid_to)
    coming = min((grant.valid_from for grant in grants if grant.valid_from > now), default=None)
    if any(grant.valid_to <= now for grant in grants):
        return Verdict(
            reason=Reason.GRANT_EXPIRED,
            message=f"the vendor's grant to {case.entity.id} for {case.license.title} has expired: record its renewal "
            "with `paddock license grant add`",
            until=coming,
        )
    return Verdict(
        reason=Reason.THRESHOLD_GRANT_REQUIRED,
        message=f"{why}: nothing is permitted under {case.license.title} until a grant of {case.license.licensor} is "
        "recorded with `paddock license grant add` and reviewed by two people",
        until=coming,
    )


def _covers(case: Case, grant: Grant) -> bool:
    return grant.state == "active" and (not grant.models or not case.lineage.ids.isdisjoint(grant.models))
