"""What served last, while the license of what is asked for now does not hold.

A denial is of what it was asked about. What serves is judged by its own license, and goes on by it as under a change
that cannot come up; nothing of the model that was denied stays.
"""

from dataclasses import dataclass, replace

import msgspec
from paddock_core.licensing.lineage import resolve
from paddock_core.policy.documents import Tenant
from paddock_core.resources import names
from paddock_core.resources.conditions import Finding

from paddock_operator.decide import license, revisions  # noqa: A004
from paddock_operator.decide.outcome import Config
from paddock_operator.decide.prepare import Pinned, Prepared, kept, pinned, served_last
from paddock_operator.decide.revisions import Revision
from paddock_operator.observed import Observed


@dataclass(frozen=True, slots=True, kw_only=True)
class Licensed:
    """A revision that served last, and that may go on."""

    finding: Finding
    """The denial of what is asked for, and what goes on meanwhile."""
    own: license.Judgement
    """What it rests on itself."""
    revision: Revision
    held: Pinned
    prepared: Prepared
    tenant: Tenant


def licensed(observed: Observed, config: Config, denial: Finding) -> Licensed | None:
    """The revision that served last, if its own license holds for sure; None where everything has to go."""
    tenant, name = observed.tenant, served_last(observed)
    if tenant is None or not name:
        return None
    found = revisions.of(observed, namespace=names.serving_namespace(tenant.id))
    revision = next((item for item in found if item.name == name), None)
    if revision is None:
        return None
    own, held = license.of_former(observed, revision.facts.model), _held(observed, config, revision, tenant, denial)
    prepared = None if own is None or held is None else kept(observed, config, held)
    if own is None or held is None or prepared is None:
        return None
    text = (
        f"{denial.message}. Until then what served last goes on by its own license: revision {name}, model"
        f" {revision.facts.model}"
    )
    return Licensed(
        finding=msgspec.structs.replace(denial, message=text),
        own=own,
        revision=revision,
        held=held,
        prepared=prepared,
        tenant=tenant,
    )


def _held(observed: Observed, config: Config, revision: Revision, tenant: Tenant, denial: Finding) -> Pinned | None:
    """What there is to go by, of the model that served last; None if nobody knows it any more."""
    asked, former = observed.live.spec.model.id, revision.facts.model
    model = resolve(model=former, registered=observed.policy.view.models, catalog=observed.catalog)
    if model is None:
        return None
    held = pinned(observed, config, model, tenant=tenant.id)
    # The wish is the specification's, which names another model: no revision of this one answers it.
    return held if asked == former else replace(held, wish="", chosen=None, denied={asked: denial.message})
