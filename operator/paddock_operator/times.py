"""Kubernetes' way of writing times."""

import datetime as dt


def format_time(unix_seconds: float) -> str:
    """RFC 3339 in UTC, whole seconds."""
    return dt.datetime.fromtimestamp(unix_seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> float:
    """Unix seconds of an RFC 3339 time. Raises ValueError for anything else."""
    return dt.datetime.fromisoformat(text).timestamp()
