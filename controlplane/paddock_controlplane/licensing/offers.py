"""Offers: what exactly is put before an entity, and until when."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from paddock_core.catalog.loader import Catalog
from paddock_core.catalog.types import LicenseEntry, Restriction
from paddock_core.licensing.types import Role
from paddock_core.policy.documents import Entity, LicensePolicy
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.audit.service import Event, record
from paddock_controlplane.entities import service as entities
from paddock_controlplane.ids import new_id
from paddock_controlplane.licensing import links
from paddock_controlplane.licensing.errors import (
    LicenseEnded,
    LinkReplaced,
    ModelUnknown,
    NotTheOperator,
    OfferStale,
    OfferUnknown,
    OfferUsed,
    SignatoryMissing,
    TenantAdminRequired,
    TokenMayNotSign,
)
from paddock_controlplane.licensing.links import Signatory
from paddock_controlplane.licensing.models import AcceptanceRow, CredentialRow, OfferRow, TextRow
from paddock_controlplane.licensing.platform import license_policy
from paddock_controlplane.licensing.questions import Duty, Question, duties, questions
from paddock_controlplane.licensing.texts import Digests, imported, license_entry
from paddock_controlplane.problems import Forbidden
from paddock_controlplane.tenants.admins import Issuer


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Which offer is to be made. Either a license is named, or a model whose first unaccepted license is meant."""

    entity: str
    role: Role
    license: str | None
    model: str | None
    model_licenses: tuple[str, ...]
    """Every license that the named model inherits; none where there is no such model."""
    signatory: Signatory | None
    """Whom a link is issued to at once, where the asker may have one."""
    issuer: Issuer
    """Who asks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferView:
    """What will be agreed: texts, their digests, duties in plain words, and the questions to answer."""

    offer: str
    entity: str
    legal_name: str
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
    """A new offer; with its signatory's token, shown this once, where the asker may have it."""

    signatory_token: str | None
    link: str | None
    """Where the signatory reads what will be agreed, and signs. It holds the token."""
    next: str
    """What to do now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """How long offers last, in seconds."""

    link: float
    """From the issuance of a link."""
    wait: float
    """Of an offer without a link."""


async def make(session: AsyncSession, *, catalog: Catalog, wish: Wish, times: Times, public_url: str) -> NewOffer:
    """Make an offer. Whoever asks for the entity gets its signatory's link; the platform gets none for another entity.

    Raises:
        EntityUnknown, LicenseUnknown, ModelUnknown: one of them is not there.
        NotTheOperator: the role is operator and the entity is not.
        SignatoryMissing: a link would be issued, and to nobody.
        LicenseEnded: the entity's license was suspended or terminated, which no new acceptance mends.
        TextNotImported: there is nothing yet to agree to.
    """
    entity = await entities.find(session, wish.entity)
    if wish.role is Role.OPERATOR and not entity.is_operator:
        raise NotTheOperator(f"{entity.id} does not run this platform: offer it the role deployer or consumer")
    linked = links.may_issue(entity, issuer=wish.issuer)
    if linked and wish.signatory is None:
        raise SignatoryMissing("name the signatory: the link is issued to that person alone")
    entry = license_entry(catalog, wish.license or await _license_of(session, wish))
    await not_ended(session, entity.id, entry)
    texts = await imported(session, entry)
    offer = _row(wish, entry, texts, seconds=times.wait)
    session.add(offer)
    await session.flush()
    detail = {"license": entry.id, "role": offer.role}
    event = Event(actor=wish.issuer.actor, action="license.offer", subject=offer.id, entity=entity.id, detail=detail)
    await record(session, event)
    link = None
    if linked and wish.signatory is not None:
        link = await links.issue(
            session,
            offer=offer,
            signatory=wish.signatory,
            issuer=wish.issuer,
            seconds=times.link,
            public_url=public_url,
        )
    return NewOffer(
        **_shown(catalog, entry, offer, texts, entity, await license_policy(session)),
        signatory_token=link.signatory_token if link else None,
        link=link.link if link else None,
        next="Give the link to the signatory alone: it is not shown again and works once."
        if link
        else f"An administrator of {entity.id}, with a token that comes from its first one, issues the signatory's "
        f'link: `paddock license link {offer.id} --signatory "NAME <MAIL>"`.',
    )


def _row(wish: Wish, entry: LicenseEntry, texts: dict[str, TextRow], *, seconds: float) -> OfferRow:
    return OfferRow(
        id=new_id("off"),
        entity=wish.entity,
        license=entry.id,
        role=wish.role.value,
        digests={role: {"raw": text.raw, "canonical": text.canonical} for role, text in texts.items()},
        offered_by=wish.issuer.actor,
        expires_at=datetime.now(UTC) + timedelta(seconds=seconds),
    )


async def issue_link(
    session: AsyncSession,
    *,
    catalog: Catalog,
    offer_id: str,
    signatory: Signatory,
    issuer: Issuer,
    seconds: float,
    public_url: str,
) -> links.SignatoryLink:
    """Issue the link of an offer's signatory; a link that was issued before opens nothing any more.

    Raises:
        OfferUnknown: the caller sees no such offer.
        TenantAdminRequired: the platform would get the link with which another entity agrees.
        TokenMayNotSign: the same, by a token that the platform issued or renewed.
        OfferUsed, OfferStale, LicenseEnded: the offer can no longer be accepted.
    """
    offer = await session.get(OfferRow, offer_id, with_for_update=True)
    if offer is None:
        raise OfferUnknown(f"no offer {offer_id}: make one with `paddock license offer`")
    entity = await entities.find(session, offer.entity)
    if not links.may_issue(entity, issuer=issuer):
        raise _refused(offer, issuer)
    used = select(CredentialRow.id).where(CredentialRow.offer == offer.id, CredentialRow.used_at.is_not(None))
    if await session.scalar(used) is not None:
        raise OfferUsed("this offer was accepted: make a new one if another acceptance is needed")
    _not_expired(offer)
    entry = license_entry(catalog, offer.license)
    await unchanged_texts(session, entry, offer)
    await not_ended(session, offer.entity, entry)
    return await links.issue(
        session, offer=offer, signatory=signatory, issuer=issuer, seconds=seconds, public_url=public_url
    )


def _refused(offer: OfferRow, issuer: Issuer) -> Forbidden:
    if not issuer.token:
        return TenantAdminRequired(
            f"the platform is not given the link of {offer.entity}'s signatory: an administrator of that entity "
            f"runs `paddock license link {offer.id}` with the entity's first admin token, or one issued with it"
        )
    return TokenMayNotSign(
        f"admin token {issuer.token} comes from the platform, and with a link one agrees for {offer.entity}: use the "
        "entity's first admin token, or one issued with it (`paddock tenant token create`; `paddock tenant token "
        "list` shows which may). If none is left, the platform team registers the entity anew, under another id"
    )


async def current(session: AsyncSession, *, catalog: Catalog, credential_id: str) -> OfferView:
    """The offer that a signatory's credential is for.

    Raises:
        OfferUsed, OfferStale, LinkReplaced: it can no longer be accepted with this credential.
    """
    offer, _ = await open_offer(session, credential_id=credential_id)
    entry = license_entry(catalog, offer.license)
    texts = await unchanged_texts(session, entry, offer)
    await not_ended(session, offer.entity, entry)
    entity = await entities.find(session, offer.entity)
    return OfferView(**_shown(catalog, entry, offer, texts, entity, await license_policy(session)))


async def open_offer(
    session: AsyncSession, *, credential_id: str, lock: bool = False
) -> tuple[OfferRow, CredentialRow]:
    """A credential's offer, if it can still be accepted; locked, so that only one acceptance can use it.

    Raises:
        OfferUsed: it was accepted.
        LinkReplaced: a newer link was issued for it.
        OfferStale: its time is over.
    """
    credential = await session.get_one(CredentialRow, credential_id)
    # The offer first, as where a link is issued: whoever comes second sees what the first did.
    offer = await session.get_one(OfferRow, credential.offer, with_for_update=lock or None)
    await session.refresh(credential, with_for_update=lock or None)
    if credential.used_at is not None:
        raise OfferUsed("this signatory token was used: ask for a new offer if another acceptance is needed")
    if credential.revoked_at is not None:
        raise LinkReplaced("a newer link was issued for this offer: use that one, or ask for another")
    _not_expired(offer)
    return offer, credential


def _not_expired(offer: OfferRow) -> None:
    if offer.expires_at <= datetime.now(UTC):
        raise OfferStale("this offer has expired: ask for a new one with `paddock license offer`")


async def unchanged_texts(session: AsyncSession, entry: LicenseEntry, offer: OfferRow) -> dict[str, TextRow]:
    """The texts of an offer, if they are still the ones that were put before the signatory.

    Raises:
        OfferStale: another text was imported since.
    """
    texts = await imported(session, entry)
    if {role: {"raw": text.raw, "canonical": text.canonical} for role, text in texts.items()} != offer.digests:
        raise OfferStale("the license's text was imported anew since this offer: ask for a new one")
    return texts


async def _license_of(session: AsyncSession, wish: Wish) -> str:
    """The first license of the model that the entity has not accepted in this role; all accepted: the first."""
    if not wish.model_licenses:
        raise ModelUnknown(f"no model {wish.model} in the catalogue or registered: see `paddock model list`")
    rows = await session.scalars(
        select(AcceptanceRow.license).where(
            AcceptanceRow.entity == wish.entity,
            AcceptanceRow.role == wish.role.value,
            AcceptanceRow.state == "active",
        )
    )
    accepted = set(rows)
    return next((name for name in wish.model_licenses if name not in accepted), wish.model_licenses[0])


async def not_ended(session: AsyncSession, entity: str, entry: LicenseEntry) -> None:
    """Raises LicenseEnded if the entity's license was suspended or terminated, which no new acceptance mends."""
    state = await session.scalar(
        select(AcceptanceRow.state).where(
            AcceptanceRow.entity == entity,
            AcceptanceRow.license == entry.id,
            AcceptanceRow.state.in_(("suspended", "terminated")),
            # Suspended only because its words are old: that is what a new acceptance mends.
            AcceptanceRow.grace_until.is_(None),
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
        "legal_name": entity.legal_name,
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
