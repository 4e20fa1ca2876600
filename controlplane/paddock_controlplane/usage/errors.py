"""Errors of the ledger."""

from paddock_controlplane.problems import Conflict, Gone, Invalid, NotFound


class RecordInvalid(Invalid):
    code, title = "RecordInvalid", "A usage record cannot be entered in the ledger"


class RecordTooOld(Invalid):
    code, title = "RecordTooOld", "The ledger no longer keeps the day of this record"


class RecordUnknown(NotFound):
    code, title = "RecordUnknown", "There is no such row in the ledger"


class CorrectionRefused(Conflict):
    code, title = "CorrectionRefused", "This row cannot be corrected so"


class CursorInvalid(Invalid):
    code, title = "CursorInvalid", "This cursor is none of ours"


class PeriodTooLong(Invalid):
    code, title = "PeriodTooLong", "This period is too long for one answer"


class RowsGone(Gone):
    code, title = "RowsGone", "The rows of that time are no longer kept"
