"""Triton dies when a request is asked about after its last response: the order is kept by the responder.

Triton's own module exists inside its stub alone, so a stand-in records what would have reached Triton.
"""

import importlib
import sys
import threading
import time
from types import ModuleType, SimpleNamespace

import pytest
from paddock_serving.tracking import Part

LAST = 1


class Sender:
    """Triton's response sender: remembers calls that came after the last response."""

    def __init__(self) -> None:
        self.over = False
        self.too_late: list[str] = []

    def is_cancelled(self) -> bool:
        if self.over:
            self.too_late.append("is_cancelled")
        time.sleep(0.0005)
        if self.over:
            self.too_late.append("is_cancelled, in the middle")
        return False

    def send(self, response: object, flags: int) -> None:
        if self.over:
            self.too_late.append("send")
        self.over = flags == LAST


@pytest.fixture
def responder_type(monkeypatch):
    triton = ModuleType("triton_python_backend_utils")
    triton.Tensor = lambda name, array: (name, array)
    triton.InferenceResponse = SimpleNamespace
    triton.TritonError = SimpleNamespace(CANCELLED=1, INVALID_ARG=2, INTERNAL=3)
    triton.TRITONSERVER_RESPONSE_COMPLETE_FINAL = LAST
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", triton)
    monkeypatch.delitem(sys.modules, "paddock_serving.model", raising=False)
    yield importlib.import_module("paddock_serving.model").TritonResponder
    sys.modules.pop("paddock_serving.model", None)


def test_nobody_asks_after_the_last_response(responder_type):
    for _ in range(50):
        sender = Sender()
        responder = responder_type(sender)
        asking = threading.Thread(target=lambda r=responder: [r.gone() for _ in range(20)])
        asking.start()
        time.sleep(0.002)
        responder.send(Part(text="x", input_tokens=1, output_tokens=1, reason="stop"))
        asking.join()
        assert sender.too_late == []
        assert responder.gone() is False


def test_nothing_follows_the_last_response(responder_type):
    sender = Sender()
    responder = responder_type(sender)
    responder.send(Part(text="x", input_tokens=1, output_tokens=1))
    responder.send(Part(text="", input_tokens=1, output_tokens=0, reason="stop"))
    responder.send(Part(text="late", input_tokens=1, output_tokens=1))
    assert sender.too_late == []
