"""Who calls: from a bearer token to a principal.

platform   the platform team's token               every row
internal   the token of gateways and the operator  every row, internal routes
tenant     pa_...  an admin of one tenant           rows of that tenant and of its entity
signatory  ps_...  a person who may accept one offer, once
reviewer   pr_...  a person who compares grants with their documents: reads and reviews every entity's
decision   dt....  may do what one allowed license decision says (a download), for a while
purge      dt....  may tell what one purge removed, for a while
"""

import hmac
import time
from dataclasses import dataclass
from typing import Literal

from paddock_core.keys import REVIEWER, SIGNATORY, TENANT_ADMIN, ParsedKey, parse_key, secret_digest
from sqlalchemy import select

from paddock_controlplane.db import EVERYTHING, Database, Scope
from paddock_controlplane.decision_tokens import DecisionTokens
from paddock_controlplane.licensing.models import CredentialRow
from paddock_controlplane.licensing.reviewer_models import ReviewerRow
from paddock_controlplane.problems import Unauthorized
from paddock_controlplane.tenants import admins
from paddock_controlplane.tenants.models import TenantAdminRow, TenantRow
from paddock_controlplane.token_files import FileToken

Kind = Literal["platform", "internal", "tenant", "signatory", "reviewer", "decision", "purge"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """A caller who showed a valid token. `name` is what logs and the audit log say; it holds no secret."""

    kind: Kind
    name: str
    tenant: str = ""
    entity: str = ""
    credential: str = ""
    """Id of a signatory's, a reviewer's or a tenant admin's credential."""
    model: str = ""
    """What a decision token is for: a model; of a purge's token the purge."""
    token_issued_by: str = ""
    """Of a tenant's admin: who issued the token."""
    signs: bool = False
    """Of a tenant's admin: the token may issue links of its entity's signatories."""

    def scope(self) -> Scope:
        """The rows that this caller may see."""
        if self.kind in ("platform", "internal"):
            return Scope(tenant="*", entity="*", principal=self.name)
        if self.kind == "reviewer":
            return Scope(entity="*", principal=self.name)
        return Scope(tenant=self.tenant, entity=self.entity, principal=self.name)

    def issuer(self) -> admins.Issuer:
        """The caller as the one who issues a credential."""
        return admins.Issuer(
            actor=self.name, token=self.credential, token_issued_by=self.token_issued_by, signs=self.signs
        )


class Authenticator:
    """Knows the tokens from files, and where to look for the others."""

    def __init__(self, *, database: Database, admin: FileToken, internal: FileToken, decisions: DecisionTokens) -> None:
        self._database = database
        self._admin = admin
        self._internal = internal
        self._decisions = decisions

    async def principal(self, authorization: str | None) -> Principal:
        """The caller.

        Raises:
            Unauthorized: no token, or none that is valid.
        """
        scheme, _, token = (authorization or "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise Unauthorized("send a token: `Authorization: Bearer ...`")
        presented = token.encode()
        if self._admin.matches(presented):
            return Principal(kind="platform", name="platform")
        if self._internal.matches(presented):
            return Principal(kind="internal", name="internal")
        claims = self._decisions.claims_of(token)
        if claims is not None and claims.verb == "purge":
            return Principal(kind="purge", name=f"purge:{claims.subject}", model=claims.subject)
        if claims is not None:
            return Principal(kind="decision", name=f"decision:{claims.subject}", model=claims.subject)
        key = parse_key(token)
        if key is None:
            raise Unauthorized("this is not a token of this control plane: check it for a missing or changed character")
        return await self._stored(key)

    async def _stored(self, key: ParsedKey) -> Principal:
        async with self._database.transaction(EVERYTHING) as session:
            if key.prefix == TENANT_ADMIN:
                found = await session.execute(
                    select(TenantAdminRow, TenantRow.entity)
                    .join(TenantRow, TenantRow.id == TenantAdminRow.tenant)
                    .where(TenantAdminRow.id == key.id)
                )
                row = found.one_or_none()
                if row is not None and admins.proved(row[0], key, now=time.time()):
                    return _tenant(row[0], entity=row[1])
            if key.prefix == SIGNATORY:
                credential = await session.get(CredentialRow, key.id)
                if credential is not None and _matches(key, credential.secret_sha256):
                    if credential.opened_at is not None:
                        raise Unauthorized("this link was opened in a browser: sign there, or ask for a new link")
                    name = f"signatory:{credential.id}"
                    return Principal(kind="signatory", name=name, entity=credential.entity, credential=credential.id)
            if key.prefix == REVIEWER:
                person = await session.get(ReviewerRow, key.id)
                if person is not None and person.ended_at is None and _matches(key, person.secret_sha256):
                    return Principal(kind="reviewer", name=f"reviewer:{person.id}", credential=person.id)
        raise Unauthorized("this token is not, or no longer, valid here")


def _tenant(row: TenantAdminRow, *, entity: str) -> Principal:
    return Principal(
        kind="tenant",
        name=f"tenant:{row.tenant}",
        tenant=row.tenant,
        entity=entity,
        credential=row.id,
        token_issued_by=row.issued_by,
        signs=row.signs,
    )


def _matches(key: ParsedKey, stored: str) -> bool:
    return hmac.compare_digest(secret_digest(key.secret), stored)
