"""Offers: what exactly is put before an entity, and the credential of the one person who may accept it."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from paddock_core.catalog.loader import Catalog
from paddock_core.catalog.types import LicenseEntry, Restriction
from paddock_core.keys import SIGNATORY, secret_digest
from paddock_core.licensing.types import Role
from paddock_core.policy.documents import Entity, LicensePolicy
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.audit.service import Event, record
from paddock_controlplane.entities import service as entities
from paddock_controlplane.ids import new_credential, new_id
from paddock_controlplane.licensing.errors import (
    LicenseEnded,
    ModelUnknown,
    NotTheOperator,
    OfferStale,
    OfferUsed,
    TenantAdminRequired,
)
from paddock_controlplane.licensing.models import AcceptanceRow, CredentialRow, OfferRow, TextRow
from paddock_controlplane.licensing.platform import license_policy
from paddock_controlplane.licensing.questions import Duty, Question, duties, questions
from paddock_controlplane.licensing.texts import Digests, imported, license_entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Which offer is to be made. Either a license is named, or a model whose first unaccepted license is meant."""

    entity: str
    role: Role
    license: str | None
    model: str | None
    signatory_name: str
    signatory_email: str
    delivered_by: str
    by_platform: bool
    """Asked for with the platform's own token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferView:
    """What will be agreed: texts, their digests, duties in plain words, and the questions to answer."""

    offer: str
    entity: str
    license: str
    title: str
    licensor: str
    """Who the agreement is made with, by the entity's principal place of business."""
    role: Role
    texts: dict[str, str]
    digests: dict[str, Digests]
    duties: list[Duty]
    restrictions: list[Restriction]
    """Uses that the terms forbid, in our own words: what an entity binds its own users to."""
    questions: list[Question]
    expires_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOffer(OfferView):
    """A new offer with its signatory's token, which is shown this once."""

    signatory_token: str
    link: str
    """Where the signatory reads what will be agreed, with the token as bearer."""


async def make(
    session: AsyncSession, *, catalog: Catalog, wish: Wish, actor: str, seconds: float, public_url: str
) -> NewOffer:
    """Make an offer.

    Raises:
        EntityUnknown, LicenseUnknown, ModelUnknown: one of them is not there.
        NotTheOperator: the role is operator and the entity is not.
        TenantAdminRequired: the platform would get the token with which another entity agrees.
        LicenseEnded: the entity's license was suspended or terminated, which no new acceptance mends.
        TextNotImported: there is nothing yet to agree to.
    """
    entity = await entities.find(session, wish.entity)
    if wish.role is Role.OPERATOR and not entity.is_operator:
        raise NotTheOperator(f"{entity.id} does not run this platform: offer it the role deployer or consumer")
    if wish.by_platform and not entity.is_operator:
        raise TenantAdminRequired(
            f"whoever asks for an offer is given the link of {entity.id}'s signatory, so the platform cannot ask: "
            "an administrator of one of its tenants runs `paddock license offer` with that tenant's admin token"
        )
    entry = license_entry(catalog, wish.license or await _license_of(session, catalog, wish))
    await not_ended(session, entity.id, entry)
    texts = await imported(session, entry)
    token, parsed = new_credential(SIGNATORY)
    offer = OfferRow(
        id=new_id("off"),
        entity=entity.id,
        license=entry.id,
        role=wish.role.value,
        digests={role: {"raw": text.raw, "canonical": text.canonical} for role, text in texts.items()},
        signatory_name=wish.signatory_name,
        signatory_email=wish.signatory_email,
        delivered_by=wish.delivered_by,
        offered_by=actor,
        expires_at=datetime.now(UTC) + timedelta(seconds=seconds),
    )
    session.add(offer)
    await session.flush()
    credential = CredentialRow(
        id=parsed.id, offer=offer.id, entity=entity.id, secret_sha256=secret_digest(parsed.secret)
    )
    session.add(credential)
    await session.flush()
    detail = {"license": entry.id, "role": offer.role, "credential": parsed.id, "delivered_by": wish.delivered_by}
    event = Event(actor=actor, action="license.offer", subject=offer.id, entity=entity.id, detail=detail)
    await record(session, event)
    shown = _shown(catalog, entry, offer, texts, entity, await license_policy(session))
    link = f"{public_url.rstrip('/')}/v1/license-offers/current"
    return NewOffer(**shown, signatory_token=token, link=link)


async def current(session: AsyncSession, *, catalog: Catalog, credential_id: str) -> OfferView:
    """The offer that a signatory's credential is for.

    Raises:
        OfferUsed, OfferStale: it can no longer be accepted.
    """
    offer, _ = await open_offer(session, credential_id=credential_id)
    entry = license_entry(catalog, offer.license)
    texts = await unchanged_texts(session, entry, offer)
    entity = await entities.find(session, offer.entity)
    return OfferView(**_shown(catalog, entry, offer, texts, entity, await license_policy(session)))


async def open_offer(
    session: AsyncSession, *, credential_id: str, lock: bool = False
) -> tuple[OfferRow, CredentialRow]:
    """A credential's offer, if it can still be accepted; locked, so that only one acceptance can use it.

    Raises:
        OfferUsed: it was accepted.
        OfferStale: its time is over.
    """
    credential = await session.get_one(CredentialRow, credential_id, with_for_update=lock or None)
    offer = await session.get_one(OfferRow, credential.offer)
    if credential.used_at is not None:
        raise OfferUsed("this signatory token was used: ask for a new offer if another acceptance is needed")
    if offer.expires_at <= datetime.now(UTC):
        raise OfferStale("this offer has expired: ask for a new one with `paddock license offer`")
    return offer, credential


async def unchanged_texts(session: AsyncSession, entry: LicenseEntry, offer: OfferRow) -> dict[str, TextRow]:
    """The texts of an offer, if they are still the ones that were put before the signatory.

    Raises:
        OfferStale: another text was imported since.
    """
    texts = await imported(session, entry)
    if {role: {"raw": text.raw, "canonical": text.canonical} for role, text in texts.items()} != offer.digests:
        raise OfferStale("the license's text was imported anew since this offer: ask for a new one")
    return texts


async def _license_of(session: AsyncSession, catalog: Catalog, wish: Wish) -> str:
    """The first license of the model that the entity has not accepted in this role; all accepted: the first."""
    model = catalog.model(wish.model or "")
    if model is None:
        raise ModelUnknown(f"no model {wish.model} in the catalogue: see `paddock model list`")
    rows = await session.scalars(
        select(AcceptanceRow.license).where(
            AcceptanceRow.entity == wish.entity,
            AcceptanceRow.role == wish.role.value,
            AcceptanceRow.state == "active",
        )
    )
    accepted = set(rows)
    return next((name for name in model.licenses if name not in accepted), model.licenses[0])


async def not_ended(session: AsyncSession, entity: str, entry: LicenseEntry) -> None:
    """Raises LicenseEnded if the entity's license was suspended or terminated, which no new acceptance mends."""
    state = await session.scalar(
        select(AcceptanceRow.state).where(
            AcceptanceRow.entity == entity,
            AcceptanceRow.license == entry.id,
            AcceptanceRow.state.in_(("suspended", "terminated")),
        )
    )
    if state is not None:
        raise LicenseEnded(f"{entry.title} of {entity} is {state}: no new acceptance mends that, ask the platform team")


def _shown(
    catalog: Catalog,
    entry: LicenseEntry,
    offer: OfferRow,
    texts: dict[str, TextRow],
    entity: Entity,
    policy: LicensePolicy,
) -> dict[str, Any]:
    role = Role(offer.role)
    return {
        "offer": offer.id,
        "entity": offer.entity,
        "license": entry.id,
        "title": entry.title,
        "licensor": entry.licensor_of(entity.principal_place_of_business),
        "role": role,
        "texts": {name: text.content for name, text in texts.items()},
        "digests": {name: Digests(raw=text.raw, canonical=text.canonical) for name, text in texts.items()},
        "duties": duties(entry),
        "restrictions": list(catalog.restrictions_of(entry.id)),
        "questions": questions(entry, role, policy),
        "expires_at": offer.expires_at.timestamp(),
    }
