"""Changes of a rehearsed cluster, for the tests of rollouts."""

from paddock_core.resources.llamadeployment import BenchmarkStatus
from paddock_operator.decide.rollout.types import Health, Step

from tests.operator.rehearsal import Cluster

BAD = Health(requests=100, errors=40)
GOOD = Health(requests=100, errors=0, ttft_p95_ms=200.0, tokens_per_second=40.0)


def change(cluster: Cluster, target: str = "b") -> list[Step]:
    """Ask for another revision, and all steps until nothing moves any more."""
    cluster.target = target
    return cluster.settle()


def until(cluster: Cluster, *, weight: int = 1, revision: str = "b") -> list[Step]:
    """Rounds until a revision gets so much of the requests."""
    steps = []
    for _ in range(500):
        steps.append(cluster.round())
        if steps[-1].weights.get(revision, 0) >= weight:
            return steps
        cluster.pass_time(5.0)
    raise AssertionError(f"never got there: {steps[-1]}")


def benchmark(*, ttft: int = 100, speed: int = 40) -> BenchmarkStatus:
    """What a trial has shown; `ttft` in milliseconds, `speed` in tokens a second."""
    return BenchmarkStatus(
        concurrency=4, requests=8, output_tokens=256, ttft_p50_ms=ttft, ttft_p95_ms=ttft, tokens_per_second=speed, at=""
    )
