"""Errors of the ledger."""

from paddock_controlplane.problems import Invalid


class RecordInvalid(Invalid):
    code, title = "RecordInvalid", "A usage record cannot be entered in the ledger"
