"""The engine `llmapi` against the signatures that TensorRT-LLM publishes; the library itself needs a GPU.

The stand-in below is strict: an argument or a member that is not in the table is an error. How it behaves (cumulative
outputs, stop words left in when asked for, abort) is what the library's sources say; `make gpu-check` runs the real
one.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from paddock_serving import gpu_check
from paddock_serving.engines.base import EngineConfig, Generation
from paddock_serving.engines.llmapi import Library, LlmApi, clear_mpi, create, llm_arguments, sampling_arguments
from paddock_serving.errors import EngineError
from paddock_serving.gpu_check import Collected

TABLE: dict[str, Any] = yaml.safe_load(
    Path(__file__).with_name("tensorrt_llm_signatures.yaml").read_text(encoding="utf-8")
)
CONFIG = EngineConfig(
    engine="llmapi",
    model=Path("/weights/abc"),
    context_length=100,
    max_concurrency=4,
    arguments={"backend": "pytorch", "tensor_parallel_size": 8, "pipeline_parallel_size": 2},
)
SECONDS = 10


def strict(entry: str, given: dict[str, Any]) -> dict[str, Any]:
    unknown = set(given) - set(TABLE[entry]["parameters"])
    assert not unknown, f"{entry} takes no {sorted(unknown)}"
    return given


class Strict:
    """An object with exactly the members that the table gives its class."""

    def __init__(self, entry: str, **members: Any) -> None:
        assert set(members) <= set(TABLE[entry]["members"])
        self.__dict__.update(members)


class Result:
    """RequestOutput: yields itself with growing outputs, until the script is over or it is aborted."""

    def __init__(self, script: Sequence[tuple[str, int]], finish: str, prompt: list[int]) -> None:
        self._script = script
        self._finish = finish
        self.prompt_token_ids = prompt
        self.finished = False
        self.aborted_by_us = threading.Event()
        self.outputs: list[Any] = []

    def abort(self) -> None:
        self.aborted_by_us.set()

    def __aiter__(self) -> AsyncIterator["Result"]:
        return self._run()

    async def _run(self) -> AsyncIterator["Result"]:
        for number, (text, tokens) in enumerate(self._script):
            await asyncio.sleep(0)
            last = number == len(self._script) - 1
            self.finished = last or self.aborted_by_us.is_set()
            reason = "cancelled" if self.aborted_by_us.is_set() else self._finish if last else None
            self.outputs = [
                Strict("CompletionOutput", text=text, token_ids=[0] * tokens, finish_reason=reason, stop_reason=None)
            ]
            yield self
            if self.finished:
                return


class Llm:
    """LLM: keeps what it was asked, answers from a script."""

    script: Sequence[tuple[str, int]] = (("He", 1), ("Hello", 2), ("Hello.", 3))
    finish = "stop"
    error: Exception | None = None

    def __init__(self, **arguments: Any) -> None:
        self.arguments = strict("LLM.__init__", arguments)
        self.tokenizer = type("Tokenizer", (), {"encode": staticmethod(lambda text: list(text.encode()))})
        self.asked: list[dict[str, Any]] = []
        self.results: list[Result] = []
        self.closed = False

    def generate_async(self, **arguments: Any) -> Result:
        self.asked.append(strict("LLM.generate_async", arguments))
        if self.error is not None:
            raise self.error
        result = Result(self.script, self.finish, arguments["inputs"])
        self.results.append(result)
        return result

    def shutdown(self) -> None:
        self.closed = True


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> Any:
    made: list[LlmApi] = []

    def make(**script: Any) -> tuple[LlmApi, Llm]:
        library = type("Scripted", (Llm,), script)
        parameters: Callable[..., Any] = lambda **given: strict("SamplingParams.__init__", given)  # noqa: E731
        built: list[Llm] = []

        def llm(**arguments: Any) -> Llm:
            built.append(library(**arguments))
            return built[0]

        engine = LlmApi(
            library=Library(llm=llm, sampling_params=parameters),
            arguments=llm_arguments(CONFIG),
            context_length=CONFIG.context_length,
        )
        made.append(engine)
        return engine, built[0]

    yield make
    for item in made:
        item.close()


def generate(engine: LlmApi, sink: Collected | None = None, **fields: Any) -> Collected:
    sink = sink or Collected()
    engine.submit(Generation(id="r", **({"prompt_ids": (1, 2, 3)} | fields)), sink)
    assert sink.ended.wait(SECONDS)
    return sink


def test_every_source_in_the_table_is_pinned() -> None:
    for entry in TABLE.values():
        assert len(entry["commit"]) == 40
        assert entry["source"].startswith("tests/unittest/api_stability/")


def test_the_plan_reaches_the_library(engine: Any) -> None:
    _, llm = engine()
    assert llm.arguments == {
        "model": "/weights/abc",
        "max_seq_len": 100,
        "max_batch_size": 4,
        "backend": "pytorch",
        "tensor_parallel_size": 8,
        "pipeline_parallel_size": 2,
    }


def test_outputs_become_deltas_with_exact_counts(engine: Any) -> None:
    running, llm = engine()
    sink = generate(running)
    assert (sink.text, sink.input_tokens, sink.output_tokens, sink.reason) == ("Hello.", 3, 3, "stop")
    assert llm.asked[0]["inputs"] == [1, 2, 3]
    assert llm.asked[0]["streaming"] is True


def test_text_prompts_are_tokenised_by_the_library(engine: Any) -> None:
    running, llm = engine()
    assert generate(running, prompt_ids=None, prompt_text="ab").input_tokens == 2
    assert llm.asked[0]["inputs"] == [97, 98]


def test_a_stop_word_is_cut_off_the_text_but_its_tokens_count(engine: Any) -> None:
    running, _ = engine(script=[("one ST", 2), ("one STOP", 4)])
    sink = generate(running, stop=("STOP",))
    assert (sink.text, sink.output_tokens, sink.reason) == ("one ", 4, "stop")


def test_a_stop_word_that_the_library_missed_ends_it_too(engine: Any) -> None:
    running, llm = engine(script=[("a", 1), ("a STOP b", 3), ("a STOP b c", 4)])
    sink = generate(running, stop=("STOP",))
    assert (sink.text, sink.reason) == ("a ", "stop")
    assert llm.results[0].aborted_by_us.is_set()


def test_half_a_character_waits(engine: Any) -> None:
    running, _ = engine(script=[("\ufffd", 1), ("\ufffd", 2), ("😀", 3), ("😀\ufffd", 4)], finish="length")
    sink = generate(running)
    assert (sink.text, sink.output_tokens, sink.reason) == ("😀", 4, "length")


def test_fewer_tokens_at_the_end_do_not_lower_the_count(engine: Any) -> None:
    running, _ = engine(script=[("ab", 2), ("abc", 5), ("abc", 4)])
    assert generate(running).output_tokens == 5


def test_cancelling_aborts_in_the_library(engine: Any) -> None:
    running, llm = engine(script=[("x" * n, n) for n in range(1, 100)])
    sink = generate(running, Collected(cancel_after=3))
    assert sink.reason == "cancelled"
    assert sink.output_tokens < 99
    assert llm.results[0].aborted_by_us.is_set()


@pytest.mark.parametrize(
    ("error", "said"), [(ValueError("too long"), "refused: "), (RuntimeError("rank 1 died"), "error: ")]
)
def test_the_librarys_errors_end_the_request(engine: Any, error: Exception, said: str) -> None:
    running, _ = engine(error=error)
    sink = generate(running)
    assert sink.reason.startswith(said)
    assert str(error) in sink.reason


def test_a_prompt_without_room_is_refused(engine: Any) -> None:
    running, _ = engine()
    assert generate(running, prompt_ids=tuple(range(100))).reason.startswith("refused: ")


def test_greedy_and_defaults() -> None:
    greedy = sampling_arguments(Generation(id="r", prompt_ids=(1,), temperature=0.0, max_tokens=500), room=60)
    assert (greedy["top_k"], greedy["temperature"], greedy["max_tokens"]) == (1, None, 60)
    default = sampling_arguments(Generation(id="r", prompt_ids=(1,)), room=60)
    assert (default["top_k"], default["temperature"], default["max_tokens"]) == (None, 1.0, 60)


def test_the_environment_of_an_mpi_job_is_forgotten() -> None:
    environment = {"OMPI_COMM_WORLD_RANK": "0", "PMIX_RANK": "0", "OMPI_MCA_btl": "tcp", "PATH": "/bin"}
    clear_mpi(environment)
    assert environment == {"OMPI_MCA_btl": "tcp", "PATH": "/bin"}


def test_without_the_library_the_engine_says_which_image_has_it() -> None:
    with pytest.raises(EngineError, match="trtllm-python-py3"):
        create(CONFIG)


def test_the_gpu_check_refuses_where_there_is_no_gpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu_check, "missing", lambda: "no NVIDIA GPU here")
    assert gpu_check.check(Path("/nowhere")) == 3
    assert "not run: no NVIDIA GPU here" in capsys.readouterr().err
