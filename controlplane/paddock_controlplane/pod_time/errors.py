"""Errors of the time that pods held."""

from paddock_controlplane.problems import Invalid


class SeenInFuture(Invalid):
    code, title = "SeenInFuture", "A pod was seen later than now"


class PeriodTooLong(Invalid):
    code, title = "PeriodTooLong", "The period is too long, or ends before it begins"
