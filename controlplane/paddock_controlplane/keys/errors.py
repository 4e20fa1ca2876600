"""Errors of API keys."""

from paddock_controlplane.problems import Invalid, NotFound


class KeyUnknown(NotFound):
    code, title = "KeyUnknown", "The tenant has no such key"


class KeyExpiryPast(Invalid):
    code, title = "KeyExpiryPast", "The key would have expired already"
