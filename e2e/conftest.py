"""One stack for all end-to-end tests: the real parts, started once, with ports, pods and data of its own."""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from paddock_local.demo import steps, story
from paddock_local.demo.narrator import Narrator
from paddock_local.demo.world import World
from paddock_local.progress import Progress
from paddock_local.scene import make_world
from paddock_local.settings import LocalSettings
from paddock_local.stack import Stack
from rich.console import Console

from e2e import evidence
from faults.scene import kill_part

NAME = "e2e"
BASE = ["kubernetes", "postgres"]
STACK = pytest.StashKey[Stack]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure says what the cluster and the logs say at that moment."""
    report = yield
    stack = item.config.stash.get(STACK, None)
    if report.failed and stack is not None:
        report.sections.extend(evidence.gather(stack))
    return report


@pytest.fixture(scope="module")
def watched(pytestconfig: pytest.Config) -> Iterator[Callable[[Stack], None]]:
    """Name the stack that a failed test of this module is told of, where it is not the one of all tests."""
    usual = pytestconfig.stash.get(STACK, None)
    yield lambda stack: pytestconfig.stash.__setitem__(STACK, stack)
    if usual is not None:
        pytestconfig.stash[STACK] = usual


@pytest.fixture(scope="session")
def kernel_parameters() -> dict[str, str]:
    """What the kubelet would change if it could, as it was before the stack started."""
    names = (
        "vm/overcommit_memory",
        "vm/panic_on_oom",
        "kernel/panic",
        "kernel/panic_on_oops",
        "kernel/keys/root_maxkeys",
    )
    return {name: Path("/proc/sys", name).read_text() for name in names if Path("/proc/sys", name).exists()}


@pytest.fixture(scope="session")
def node(kernel_parameters: dict[str, str], pytestconfig: pytest.Config) -> Iterator[Stack]:
    """A real API server, kubelet and PostgreSQL; Paddock's own processes are not started for it."""
    assert kernel_parameters, "read before the kubelet starts"
    # What an interrupted run left would make these tests depend on that run.
    Stack(NAME).down(progress=Progress(), erase=True)
    stack = Stack(NAME)
    try:
        stack.up(progress=Progress(), only=BASE)
        pytestconfig.stash[STACK] = stack
        yield stack
    finally:
        if not LocalSettings().keep:
            stack.down(progress=Progress(), erase=True)


@pytest.fixture(scope="session")
def stack(node: Stack) -> Stack:
    """The whole product."""
    node.up(progress=Progress())
    return node


@pytest.fixture(scope="session")
def world(stack: Stack) -> Iterator[World]:
    """The people of the story on this stack."""
    found = make_world(stack)(Narrator(Console(stderr=True)))
    yield found
    found.close()


def serves(world: World) -> bool:
    """Whether acme's deployment of the story is there and serving."""
    try:
        return world.condition("Serving")["status"] == "True"
    except steps.StoryError:
        return False


@pytest.fixture
def serving(world: World) -> None:
    """The story as far as acme's deployment serving, for tests that begin there."""
    if not serves(world):
        story.prepare(world)
        for step in (steps.register, steps.apply_without_license, steps.accept_license):
            step(world)


@dataclass
class Told:
    """How far the story went: the name of the step that failed."""

    failed: str = ""


@pytest.fixture(scope="module")
def told(world: World) -> Told:
    """The story from its beginning."""
    story.prepare(world)
    return Told()


@pytest.fixture
def stack_logs(stack: Stack) -> Callable[[], list[Path]]:
    """Every log file of the stack and its containers."""
    return lambda: [file for file in stack.paths.folder("logs").rglob("*") if file.is_file()]


@pytest.fixture
def kill(node: Stack) -> Callable[[str], None]:
    """SIGKILL a part, then wait until the supervisor has started it again under another process id."""
    return partial(kill_part, node)
