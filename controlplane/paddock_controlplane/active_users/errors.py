"""Problems of active users."""

from paddock_controlplane.problems import Invalid, Problem


class BatchInvalid(Invalid):
    code, title = "ActiveUsersBatchInvalid", "This is no batch of sketches"


class StoredSketchDamaged(Problem):
    code, title = "StoredSketchDamaged", "A sketch in the database is damaged"
