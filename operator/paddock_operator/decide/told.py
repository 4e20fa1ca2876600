"""What the status remembers of copies and revisions after a round."""

from paddock_core.resources.llamadeployment import CopyStatus, RevisionStatus

from paddock_operator.decide import revisions, scaling
from paddock_operator.decide.bad_nodes import has_left
from paddock_operator.decide.causes import Cause
from paddock_operator.decide.outcome import Life
from paddock_operator.decide.rollout.types import State, Step
from paddock_operator.decide.seen import Course, Seen
from paddock_operator.observed import Observed
from paddock_operator.times import format_time


def life_of(observed: Observed, course: Course, seen: Seen, step: Step, scaled: scaling.Verdict) -> Life:
    """All of it, beside the conditions."""
    return Life(
        revisions=_revisions(observed, course, seen, step),
        rollout=step.rollout,
        scaling=scaled.status,
        copies=_records(seen, step),
        quota=course.quota.status,
        drifted=course.drifted,
    )


def _records(seen: Seen, step: Step) -> tuple[CopyStatus, ...]:
    found = (verdict.record for name, verdict in sorted(seen.verdicts.items()) if not _forgone(seen, step, name))
    return tuple(record for record in found if record is not None)


def troubles(seen: Seen, step: Step) -> list[Cause]:
    """What is known of copies in trouble; first of those that only a person brings back."""
    found = [item for name, item in sorted(seen.verdicts.items()) if not _forgone(seen, step, name)]
    ordered = sorted(found, key=lambda verdict: not verdict.failed_for_good)
    return [verdict.cause for verdict in ordered if verdict.cause is not None]


def _forgone(seen: Seen, step: Step, name: str) -> bool:
    """True for a copy that was taken down and that nobody wants back: none is wanted, or others answer in its place."""
    if any(copy.name == name for copy in seen.copies):
        return False
    return name in step.drain or _is_replaced(seen, name)


def _is_replaced(seen: Seen, name: str) -> bool:
    """True for one that left its node, if all copies answer that are there of its revision."""
    record = seen.verdicts[name].record
    if record is None or not has_left(record) or record.retry_at:
        return False
    others = [copy for copy in seen.copies if copy.revision == record.revision and not copy.going and not copy.draining]
    return bool(others) and all(copy.answering for copy in others)


def _revisions(observed: Observed, course: Course, seen: Seen, step: Step) -> tuple[RevisionStatus, ...]:
    before = {item.name: item for item in observed.live.status.revisions}
    benchmarks, made = revisions.benchmarks(observed), []
    for standing in step.standings:
        revision, former = course.known.get(standing.revision), before.get(standing.revision)
        own = [copy for copy in seen.copies if copy.revision == standing.revision and not copy.going]
        noted = "" if former is None else former.created_at
        created = revision.created_at if revision is not None and revision.created_at else format_time(observed.now)
        made.append(
            RevisionStatus(
                name=standing.revision,
                state=standing.state.value,
                created_at=noted or created,
                rendered_by="" if revision is None else revisions.rendered_by(observed, revision),
                replicas=len(own),
                ready_replicas=sum(1 for copy in own if copy.answering and not copy.draining),
                message=standing.message,
                retry=revisions.retry_of(observed) if standing.state is State.FAILED else "",
                benchmark=benchmarks.get(standing.revision),
            )
        )
    return tuple(made)


def held_back(seen: Seen, step: Step) -> int:
    """Copies that are wanted and may not be there now."""
    return sum(1 for name, verdict in seen.verdicts.items() if verdict.held and not _forgone(seen, step, name))
