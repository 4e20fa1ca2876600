"""A page of the audit log, as the control plane answers it."""

from dataclasses import dataclass

from paddock_core.audit.chain import Entry, Head


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPage:
    """Entries, oldest first, and the head of the chain."""

    items: list[Entry]
    head: Head
