"""Errors of the policy."""

from paddock_controlplane.problems import Gone


class RevisionGone(Gone):
    code, title = "RevisionGone", "The log no longer reaches back to that revision"
