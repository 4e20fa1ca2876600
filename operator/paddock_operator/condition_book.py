"""How many deployments show which condition: kept as rounds report, so that reading it looks at no deployment."""

from collections import Counter
from collections.abc import Iterable, Iterator

from paddock_core.resources.llamadeployment import Condition
from paddock_core.resources.reasons import packaged_reasons

from paddock_operator.ports import Key

OTHER = "Other"
"""For a reason that is not in the table: what is counted by stays a known set of words."""

Series = tuple[str, str, str]
"""Type, status and reason of a condition."""


class ConditionBook:
    """Deployments by condition, status and reason, as far as this process has looked at them."""

    def __init__(self) -> None:
        self._told: dict[Key, tuple[Series, ...]] = {}
        self._counts: Counter[Series] = Counter()
        self._known = packaged_reasons().reasons

    def note(self, key: Key, conditions: Iterable[Condition]) -> None:
        """A round found these."""
        found = tuple((item.type, item.status, self._word(item.reason)) for item in conditions)
        if self._told.get(key) != found:
            self.forget(key)
            self._told[key] = found
            self._counts.update(found)

    def forget(self, key: Key) -> None:
        """The deployment is gone."""
        for series in self._told.pop(key, ()):
            self._counts[series] -= 1
            if not self._counts[series]:
                del self._counts[series]

    def counts(self) -> Iterator[tuple[float, dict[str, str]]]:
        """Each number of deployments with its labels."""
        for (kind, status, reason), count in list(self._counts.items()):
            yield float(count), {"type": kind, "status": status, "reason": reason}

    def _word(self, reason: str) -> str:
        return reason if reason in self._known else OTHER
