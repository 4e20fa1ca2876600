"""Errors of quotas."""

from paddock_controlplane.problems import Conflict, Invalid, NotFound, Unavailable


class SessionUnknown(Conflict):
    code, title = "SessionUnknown", "These leases are no longer known here"


class StoreAway(Unavailable):
    code, title = "StoreAway", "The store of quotas does not answer"


class LeaseCallInvalid(Invalid):
    code, title = "LeaseCallInvalid", "A call for leases is not as expected"


class ProjectUnknown(NotFound):
    code, title = "ProjectUnknown", "The tenant has no such project"


class ProjectInUse(Conflict):
    code, title = "ProjectInUse", "Keys belong to this project"
