"""Counting decisions that denied, between two tellings of them: bounded, whatever is asked for."""

from dataclasses import dataclass, field, replace

OTHER = "*"
"""Stands for each part of a denial where too many kinds came in one interval to be told apart."""

Kind = tuple[str, str, str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """So many equal denials: who was denied, as what, doing what, with which model, why. Times are Unix seconds."""

    entity: str
    role: str
    verb: str
    model: str
    reason: str
    count: int
    first_at: float
    last_at: float

    @property
    def kind(self) -> Kind:
        return (self.entity, self.role, self.verb, self.model, self.reason)


@dataclass(slots=True)
class DenialBook:
    """Denials since the last `take`, at most `limit` kinds of them; what comes beyond is one more kind."""

    limit: int = 256
    _kinds: dict[Kind, Denial] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._kinds)

    def add(self, *, entity: str, role: str, verb: str, model: str, reason: str, at: float) -> None:
        """Count one. `at` is Unix seconds."""
        self._merge(
            Denial(entity=entity, role=role, verb=verb, model=model, reason=reason, count=1, first_at=at, last_at=at)
        )

    def take(self) -> list[Denial]:
        """All of them; the book is empty afterwards."""
        taken, self._kinds = self._kinds, {}
        return list(taken.values())

    def put_back(self, denials: list[Denial]) -> None:
        """Count those again that could not be told."""
        for denial in denials:
            self._merge(denial)

    def _merge(self, denial: Denial) -> None:
        if denial.kind not in self._kinds and len(self._kinds) >= self.limit:
            denial = replace(denial, entity=OTHER, role=OTHER, verb=OTHER, model=OTHER, reason=OTHER)
        known = self._kinds.get(denial.kind)
        self._kinds[denial.kind] = (
            denial
            if known is None
            else replace(
                known,
                count=known.count + denial.count,
                first_at=min(known.first_at, denial.first_at),
                last_at=max(known.last_at, denial.last_at),
            )
        )
