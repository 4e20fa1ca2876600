"""The contract of a pod, on the real server, the real engine and the real model."""

import contextlib
import itertools
import json
import os
import signal
import socket
import struct
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from paddock_core.serving import contract
from tokenizers import Tokenizer
from tritonclient.utils import InferenceServerException

GREEDY = {contract.TEMPERATURE: 0.0}
SECRET = "a secret of thirty-two characters"
PATIENCE_SECONDS = 240
LONGEST_STAY_SECONDS = 20

ODD_STRINGS = [
    "a",
    " ",
    "\n",
    "\t\ttabs\r\n",
    "  two  spaces  ",
    "naïve café — “quotes” …",
    "😀",
    "👨‍👩‍👧‍👦 family 🏳️‍🌈",
    "日本語のテキスト、漢字とかな。",
    "中文字符测试",
    "한국어 텍스트",
    "עברית مرحبا हिन्दी ไทย",
    "1234567890",
    "3.14159 and 1,000,000",
    "I'll we've don't they'd",
    "CamelCase snake_case kebab-case",
    "def f(x):\n    return x ** 2\n",
    '{"json": [1, 2.5, null, true]}',
    "<|im_start|>user\nhi<|im_end|>",
    "<|im_start",
    "<|endoftext|><|endoftext|>",
    "<repo_name>x<file_sep>y",
    "\u200b\u200d\ufeff zero width",
    "e\u0301 combining \u0301\u0301",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝟙𝟚𝟛",
    "½ ² ³ Ⅳ ٣ ५",
    "!!!???...---___***",
    "http://example.com/?q=a%20b&c=d#e",
    "\x00\x01\x7f control",
    "ﬁ ligature ＦＵＬＬ ｗｉｄｔｈ",
    "word" * 50,
    " ".join(["the"] * 100),
    "\n\n\n\n   \n \n",
]


def chat(question: str) -> str:
    return f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False).ids)


def test_the_model_answers_sensibly_and_the_counts_are_exact(triton: Any, tokenizer: Tokenizer) -> None:
    prompt = chat("What is the capital of Peru?")
    answer = triton.answer(id="peru", input_ids=ids(tokenizer, prompt), **{contract.MAX_TOKENS: 40}, **GREEDY)
    assert "Lima" in answer["text_output"]
    assert answer["finish_reason"] == "stop"
    assert answer["id"] == "peru"
    assert answer["num_input_tokens"] == len(ids(tokenizer, prompt))
    # The token that ends the answer is generated too, although it has no text.
    assert answer["num_output_tokens"] == len(ids(tokenizer, answer["text_output"])) + 1


def test_a_stream_says_the_same_as_one_answer(triton: Any) -> None:
    fields = {"text_input": chat("Name three colours."), contract.MAX_TOKENS: 48, **GREEDY}
    whole = triton.answer(**fields)
    chunks = triton.chunks(**fields)
    assert "".join(chunk["text_output"] for chunk in chunks) == whole["text_output"]
    assert sum(chunk["num_output_tokens"] for chunk in chunks) == whole["num_output_tokens"]
    assert {chunk["num_input_tokens"] for chunk in chunks} == {whole["num_input_tokens"]}
    assert [chunk.get("finish_reason") for chunk in chunks] == [None] * (len(chunks) - 1) + [whole["finish_reason"]]


def test_max_tokens_is_kept_to_the_token(triton: Any) -> None:
    answer = triton.answer(text_input="1, 2, 3, 4,", **{contract.MAX_TOKENS: 11}, **GREEDY)
    assert (answer["num_output_tokens"], answer["finish_reason"]) == (11, "length")


def test_a_stop_word_ends_the_text_before_it(triton: Any) -> None:
    fields = {"text_input": "1, 2, 3, 4, 5,", contract.MAX_TOKENS: 40, contract.STOP_WORDS: ["8, 9", "77"], **GREEDY}
    chunks = triton.chunks(**fields)
    text = "".join(chunk["text_output"] for chunk in chunks)
    assert text.rstrip() == " 6, 7,"
    assert chunks[-1]["finish_reason"] == "stop"
    assert sum(chunk["num_output_tokens"] for chunk in chunks) == triton.answer(**fields)["num_output_tokens"]


def test_a_seed_repeats_an_answer(triton: Any) -> None:
    fields = {"text_input": chat("Tell a story."), contract.MAX_TOKENS: 24, contract.TEMPERATURE: 1.2}
    first = triton.answer(**fields, **{contract.SEED: 42})["text_output"]
    assert triton.answer(**fields, **{contract.SEED: 42})["text_output"] == first
    assert triton.answer(**fields, **{contract.SEED: 43})["text_output"] != first


@pytest.mark.parametrize("text", ODD_STRINGS, ids=[repr(text[:12]) for text in ODD_STRINGS])
def test_the_published_tokenizer_counts_as_the_engine(triton: Any, tokenizer: Tokenizer, text: str) -> None:
    by_engine = triton.answer(text_input=text, **{contract.MAX_TOKENS: 1}, **GREEDY)
    by_gateway = triton.answer(input_ids=ids(tokenizer, text), **{contract.MAX_TOKENS: 1}, **GREEDY)
    assert by_engine["num_input_tokens"] == len(ids(tokenizer, text)) == by_gateway["num_input_tokens"]
    assert by_engine["text_output"] == by_gateway["text_output"]


@pytest.mark.parametrize("text", ["😀🎉🔥😀🎉🔥😀🎉🔥", "日本語、日本語、日本語、", "é à ü é à ü é à ü"])
def test_no_chunk_holds_half_a_character(triton: Any, text: str) -> None:
    for limit in (5, 6, 7, 24):
        fields = {"text_input": text, contract.MAX_TOKENS: limit, **GREEDY}
        chunks = triton.chunks(**fields)
        assert not any("\ufffd" in chunk["text_output"] for chunk in chunks)
        assert sum(chunk["num_output_tokens"] for chunk in chunks) <= limit
        assert "".join(chunk["text_output"] for chunk in chunks) == triton.answer(**fields)["text_output"]


def test_requests_run_side_by_side(triton: Any) -> None:
    order: list[int] = []
    totals: dict[int, int] = {}

    def run(number: int) -> None:
        chunks = []
        with triton.streaming(text_input=chat(f"Count from {number}."), **{contract.MAX_TOKENS: 32}) as events:
            for event in events:
                order.append(number)
                chunks.append(event)
        totals[number] = sum(chunk["num_output_tokens"] for chunk in chunks)

    # More than max_concurrency: two of them wait for their turn.
    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(totals) == list(range(6))
    assert all(0 < tokens <= 32 for tokens in totals.values())
    changes = sum(1 for one, other in itertools.pairwise(order) if one != other)
    assert changes > 6, "every stream came in one piece: they ran one after the other"


def left(triton: Any, *, seconds: float, **fields: Any) -> dict[str, Any]:
    """What the server says of a request whose client stayed so long, or longer where it was not yet read by then."""
    while seconds < LONGEST_STAY_SECONDS:
        fields["id"] = f"left-after-{seconds}"
        with contextlib.suppress(httpx.ReadTimeout):
            httpx.post(
                f"{triton.base}/v2/models/{contract.MODEL_NAME}/generate",
                json=fields,
                headers={contract.SECRET_HEADER: SECRET},
                timeout=httpx.Timeout(PATIENCE_SECONDS, read=seconds),
            )
            raise AssertionError(f"it was answered within {seconds} s")
        told = triton.post(id=fields["id"], stop=True)
        if told.is_success:
            return dict(told.json())
        seconds *= 2
    raise AssertionError(f"the server had not read the request after {seconds / 2} s")


def test_a_client_that_leaves_stops_the_engine(triton: Any) -> None:
    with triton.streaming(id="leaves", text_input="Count: 1, 2, 3,", **{contract.MAX_TOKENS: 900}) as events:
        for _ in range(3):
            next(events)
    totals = triton.answer(id="leaves", stop=True)
    assert totals["finish_reason"] == "cancelled"
    assert totals["num_input_tokens"] > 0
    assert 3 <= totals["num_output_tokens"] < 300
    assert triton.answer(id="leaves", stop=True) == totals, "final counts can be asked for again"


def test_a_waiting_client_that_leaves_never_reaches_the_engine(triton: Any) -> None:
    busy = [
        threading.Thread(target=triton.answer, kwargs={"text_input": "x", contract.MAX_TOKENS: 200}) for _ in range(4)
    ]
    for thread in busy:
        thread.start()
    time.sleep(0.3)
    totals = left(triton, seconds=0.3, text_input="x", **{contract.MAX_TOKENS: 900})
    for thread in busy:
        thread.join()
    assert totals["finish_reason"] == "cancelled"


def test_a_stop_request_ends_a_stream_with_its_counts(triton: Any) -> None:
    with triton.streaming(id="stopped", text_input="Count: 1, 2, 3,", **{contract.MAX_TOKENS: 900}) as events:
        chunks = [next(events), next(events)]
        totals = triton.answer(id="stopped", stop=True)
        chunks += list(events)
    assert chunks[-1]["finish_reason"] == "cancelled" == totals["finish_reason"]
    assert sum(chunk["num_output_tokens"] for chunk in chunks) == totals["num_output_tokens"]


def test_a_long_prompt_can_be_cancelled(triton: Any, tokenizer: Tokenizer) -> None:
    prompt = ids(tokenizer, "one two three four five six seven eight nine ten " * 90)[:900]
    totals = left(triton, seconds=0.1, input_ids=prompt, **{contract.MAX_TOKENS: 120})
    assert totals["finish_reason"] == "cancelled"
    assert totals["num_input_tokens"] == len(prompt)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "exactly one of"),
        ({"text_input": "a", "input_ids": [1, 2]}, "exactly one of"),
        ({"text_input": "a", contract.MAX_TOKENS: 0}, "at least 1"),
        ({"text_input": "a", contract.MAX_TOKENS: -5}, "at least 1"),
        ({"text_input": "a", contract.TEMPERATURE: -1.0}, "between"),
        ({"text_input": "a", contract.TOP_P: 1.5}, "between"),
        ({"input_ids": [49152]}, "invalid tokens"),
        ({"input_ids": [-1]}, "invalid tokens"),
        ({"input_ids": [504] * 1024}, "the context"),
        ({"text_input": "the " * 1500}, "context size"),
        ({"text_input": ""}, "empty"),
        ({"text_input": "a", contract.STOP_WORDS: ["x"] * 17}, "at most 16"),
        ({"stop": True}, "needs the id"),
        ({"stop": True, "id": "never seen"}, "no request"),
    ],
)
def test_a_senseless_request_is_refused_and_the_server_goes_on(triton: Any, fields: Any, message: str) -> None:
    response = triton.post(**fields)
    assert response.status_code == 400
    assert message in response.json()["error"]
    assert triton.answer(text_input="a", **{contract.MAX_TOKENS: 1})["num_output_tokens"] == 1


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v2/models/tensorrt_llm/generate"),
        ("POST", "/v2/models/tensorrt_llm/generate_stream"),
        ("POST", "/v2/models/tensorrt_llm/infer"),
        ("GET", "/v2/models/tensorrt_llm"),
        ("GET", "/v2"),
        ("GET", "/v2/models/tensorrt_llm/config"),
        ("GET", "/v2/models/stats"),
        ("POST", "/v2/repository/index"),
        ("POST", "/v2/repository/models/tensorrt_llm/unload"),
        ("GET", "/v2/systemsharedmemory/status"),
        ("GET", "/v2/trace/setting"),
        ("GET", "/v2/logging"),
    ],
)
def test_nothing_but_health_is_answered_without_the_secret(triton: Any, method: str, path: str) -> None:
    for headers in ({}, {contract.SECRET_HEADER: "wrong"}):
        response = httpx.request(
            method, triton.base + path, json={} if method == "POST" else None, headers=headers, timeout=PATIENCE_SECONDS
        )
        assert response.status_code == 403
    assert httpx.get(f"{triton.base}/v2/health/live", timeout=PATIENCE_SECONDS).status_code == 200


def test_grpc_demands_the_secret_too(triton: Any, tokenizer: Tokenizer) -> None:
    prompt = ids(tokenizer, chat("What is the capital of Peru?"))
    tensor = triton_grpc.InferInput(contract.INPUT_IDS, [len(prompt)], "INT32")
    tensor.set_data_from_numpy(np.array(prompt, dtype=np.int32))
    greedy = triton_grpc.InferInput(contract.TEMPERATURE, [1], "FP32")
    greedy.set_data_from_numpy(np.array([0.0], dtype=np.float32))
    with triton_grpc.InferenceServerClient(f"{triton.address}:{contract.GRPC_PORT}") as client:
        assert client.is_server_live()
        with pytest.raises(InferenceServerException, match="restricted"):
            client.get_model_config(contract.MODEL_NAME)
        answers: list[Any] = []
        done = threading.Event()

        def receive(result: Any, error: Any) -> None:
            answers.append(error or result)
            done.set()

        client.start_stream(receive, headers={f"triton-grpc-protocol-{contract.SECRET_HEADER}": SECRET})
        client.async_stream_infer(contract.MODEL_NAME, [tensor, greedy])
        assert done.wait(PATIENCE_SECONDS)
        client.stop_stream()
    assert b"Lima" in answers[0].as_numpy(contract.TEXT_OUTPUT)[0]


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


def comm(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8")


def open_files(pid: int) -> set[str]:
    """What a process holds open. It goes on working meanwhile, so an entry may be gone before it is read."""
    targets = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            targets.add(str(entry.readlink()))
    return targets


def listening(pid: int) -> set[str]:
    """Addresses on which a process listens, from /proc: every one of its sockets that is in the state LISTEN."""
    inodes = {target[8:-1] for target in open_files(pid) if target.startswith("socket:[")}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                address, port = fields[1].split(":")
                # The last four bytes, in the machine's order, are the IPv4 address, mapped into IPv6 or not.
                packed = struct.pack("<I", int(address[-8:], 16))
                found.add(f"{socket.inet_ntoa(packed)}:{int(port, 16)}")
    return found


def test_the_engine_opens_no_door_of_its_own(triton: Any) -> None:
    processes = [triton.process.pid, *children(triton.process.pid)]
    ports = (contract.HTTP_PORT, contract.GRPC_PORT, contract.METRICS_PORT)
    if not all(os.access(f"/proc/{pid}/fd", os.R_OK | os.X_OK) for pid in processes):
        pytest.skip("the kernel hides Triton's open files from an ordinary user: this one is looked at as root")
    assert set().union(*map(listening, processes)) == {f"{triton.address}:{port}" for port in ports}


def test_neither_log_nor_environment_shows_the_secret(triton: Any) -> None:
    assert SECRET not in triton.log.read_text(encoding="utf-8")
    first_line = json.loads(triton.log.read_text(encoding="utf-8").splitlines()[0])
    assert first_line["settings"]["triton_secret"] == "**********"


def test_gauges_for_scaling_are_there(triton: Any) -> None:
    text = httpx.get(f"http://{triton.address}:{contract.METRICS_PORT}/metrics", timeout=PATIENCE_SECONDS).text
    assert 'nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="max",version="1"} 4' in text


def test_the_server_ends_when_its_model_process_dies(short_lived_triton: Any) -> None:
    server = short_lived_triton
    stub = next(pid for pid in children(server.process.pid) if "triton_python" in comm(pid))
    os.kill(stub, signal.SIGKILL)
    assert server.process.wait(timeout=PATIENCE_SECONDS) == -9


def test_a_running_answer_is_finished_before_the_server_stops(short_lived_triton: Any) -> None:
    server = short_lived_triton
    with server.streaming(text_input="Count: 1, 2, 3,", **{contract.MAX_TOKENS: 30}) as events:
        chunks = [next(events)]
        server.process.terminate()
        chunks += list(events)
    assert chunks[-1]["finish_reason"] in ("length", "stop")
    assert server.process.wait(timeout=PATIENCE_SECONDS) == 0
