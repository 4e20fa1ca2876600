"""Errors of artifacts, downloads and purges."""

from paddock_controlplane.problems import Conflict, Forbidden, Invalid, NotFound


class ArtifactUnknown(NotFound):
    code, title = "ArtifactUnknown", "There is no such artifact"


class DigestMismatch(Invalid):
    code, title = "DigestMismatch", "The content has another digest than the path says"


class OtherModel(Forbidden):
    code, title = "OtherModel", "The decision token is for another model"


class ReferenceDenied(Forbidden):
    code, title = "ReferenceDenied", "The entity has no license that lets it need these files"


class PurgeUnderWay(Conflict):
    code, title = "PurgeUnderWay", "The model's files are being removed"


class PurgeUnknown(NotFound):
    code, title = "PurgeUnknown", "There is no such purge"


class PurgeEnded(Conflict):
    code, title = "PurgeEnded", "This purge is over"
