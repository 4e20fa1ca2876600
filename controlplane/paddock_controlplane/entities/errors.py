"""Errors of entities."""

from paddock_controlplane.problems import Conflict, NotFound


class EntityUnknown(NotFound):
    code, title = "EntityUnknown", "There is no such entity"


class EntityExists(Conflict):
    code, title = "EntityExists", "This entity is already registered"


class OperatorExists(Conflict):
    code, title = "OperatorExists", "Another entity is already the operator"
