"""Errors of artifacts and downloads."""

from paddock_controlplane.problems import Forbidden, Invalid, NotFound


class ArtifactUnknown(NotFound):
    code, title = "ArtifactUnknown", "There is no such artifact"


class DigestMismatch(Invalid):
    code, title = "DigestMismatch", "The content has another digest than the path says"


class OtherModel(Forbidden):
    code, title = "OtherModel", "The decision token is for another model"
