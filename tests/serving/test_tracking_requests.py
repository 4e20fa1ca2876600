from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st
from paddock_serving import tracking
from paddock_serving.tracking import Outcome, Part, Registry


@dataclass
class Client:
    """The client's side: a list of what arrived."""

    parts: list[Part] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    left: bool = False

    def send(self, part: Part) -> None:
        self.parts.append(part)

    def fail(self, message: str, *, client_fault: bool, cancelled: bool = False) -> None:
        self.errors.append(message)

    def gone(self) -> bool:
        return self.left


@given(
    deltas=st.lists(st.tuples(st.text(max_size=5), st.integers(0, 9)), max_size=20),
    last=st.tuples(st.text(max_size=5), st.integers(0, 9)),
    streaming=st.booleans(),
)
def test_text_and_counts_are_the_same_streamed_or_not(
    deltas: list[tuple[str, int]], last: tuple[str, int], streaming: bool
) -> None:
    registry, client = Registry(), Client()
    running = registry.begin(id="r", streaming=streaming, responder=client)
    running.prompt(7)
    for text, tokens in deltas:
        running.delta(text, tokens)
    running.finish("stop", text=last[0], tokens=last[1])
    everything = [*deltas, last]
    assert "".join(part.text for part in client.parts) == "".join(text for text, _ in everything)
    assert sum(part.output_tokens for part in client.parts) == sum(tokens for _, tokens in everything)
    assert [part.reason for part in client.parts] == [None] * (len(client.parts) - 1) + ["stop"]
    assert registry.stop(id="r", timeout=0) == Outcome(
        reason="stop", input_tokens=7, output_tokens=sum(tokens for _, tokens in everything)
    )
    assert registry.running() == []


def test_a_request_ends_once() -> None:
    client = Client()
    running = Registry().begin(id="r", streaming=True, responder=client)
    running.finish("length")
    running.finish("stop")
    running.fail("late", client_fault=False)
    assert [part.reason for part in client.parts] == ["length"]
    assert client.errors == []


def test_a_client_that_left_is_noticed_once() -> None:
    registry, client = Registry(), Client()
    running = registry.begin(id="r", streaming=True, responder=client)
    calls: list[int] = []
    running.on_cancel(lambda: calls.append(1))
    running.poll()
    assert not running.cancelled
    client.left = True
    running.poll()
    running.poll()
    assert running.cancelled
    assert calls == [1]


def test_an_action_registered_after_the_cancellation_runs_at_once() -> None:
    running = Registry().begin(id="r", streaming=True, responder=Client())
    running.cancel()
    calls: list[int] = []
    running.on_cancel(lambda: calls.append(1))
    assert calls == [1]


def test_outcomes_are_forgotten_after_a_while() -> None:
    now = [0.0]
    registry = Registry(clock=lambda: now[0])
    registry.begin(id="old", streaming=True, responder=Client()).finish("stop", tokens=3)
    now[0] = tracking.RETENTION_SECONDS
    assert registry.stop(id="old", timeout=0) == Outcome(reason="stop", input_tokens=0, output_tokens=3)
    now[0] += 1
    assert registry.stop(id="old", timeout=0) is None


def test_outcomes_are_bounded() -> None:
    registry = Registry()
    for number in range(tracking.RETENTION_COUNT + 5):
        registry.begin(id=str(number), streaming=True, responder=Client()).finish("stop")
    assert registry.stop(id="0", timeout=0) is None
    assert registry.stop(id=str(tracking.RETENTION_COUNT), timeout=0) is not None


def test_requests_without_an_id_are_not_remembered() -> None:
    registry = Registry()
    registry.begin(id="", streaming=True, responder=Client()).finish("stop")
    assert registry.stop(id="", timeout=0) is None
