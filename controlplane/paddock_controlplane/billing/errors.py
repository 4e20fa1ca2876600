"""Errors of statements."""

from paddock_controlplane.problems import Conflict, Invalid, NotFound


class MonthInvalid(Invalid):
    code, title = "MonthInvalid", "This is no month"


class MonthNotOver(Conflict):
    code, title = "MonthNotOver", "This month is not over"


class StatementExists(Conflict):
    code, title = "StatementExists", "A later month has its statement already"


class StatementUnknown(NotFound):
    code, title = "StatementUnknown", "There is no such statement"


class LedgerBroken(Conflict):
    code, title = "LedgerBroken", "The ledger's rows do not add up"
