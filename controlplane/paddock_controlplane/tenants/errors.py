"""Errors of tenants."""

from paddock_controlplane.problems import Conflict, Invalid, NotFound


class TenantUnknown(NotFound):
    code, title = "TenantUnknown", "There is no such tenant"


class TenantExists(Conflict):
    code, title = "TenantExists", "This tenant is already there"


class NamespaceTaken(Conflict):
    code, title = "NamespaceTaken", "This namespace belongs to another tenant"


class NamespaceReserved(Invalid):
    code, title = "NamespaceReserved", "This namespace is the platform's own"


class NamespaceUnknown(NotFound):
    code, title = "NamespaceUnknown", "The tenant has no such namespace"


class AdminTokenUnknown(NotFound):
    code, title = "AdminTokenUnknown", "The tenant has no such admin token"


class AdminTokenEnded(Conflict):
    code, title = "AdminTokenEnded", "The admin token was revoked or has expired"


class AdminTokenExpiryPast(Invalid):
    code, title = "AdminTokenExpiryPast", "The admin token would have expired already"
