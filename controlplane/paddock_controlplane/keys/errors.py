"""Errors of API keys."""

from paddock_controlplane.problems import Conflict, Invalid, NotFound


class KeyUnknown(NotFound):
    code, title = "KeyUnknown", "The tenant has no such key"


class KeyExpiryPast(Invalid):
    code, title = "KeyExpiryPast", "The key would have expired already"


class KeyEnded(Conflict):
    code, title = "KeyEnded", "The key was revoked or has expired"
