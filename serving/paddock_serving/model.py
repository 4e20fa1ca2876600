"""Triton's entry: the Python backend creates a TritonPythonModel and calls it. Runs inside the backend's stub only."""

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import triton_python_backend_utils as pb_utils
from paddock_core.serving import contract

from paddock_serving.engines.base import load_config, load_engine
from paddock_serving.errors import InvalidRequestError
from paddock_serving.guard import Guard
from paddock_serving.logs import configure_logging
from paddock_serving.tensors import INPUTS, read_flag, read_generation, write_part
from paddock_serving.tracking import Part, Registry

log = logging.getLogger(__name__)

_POLL_SECONDS: Final = 0.05
_STOP_TIMEOUT_SECONDS: Final = 10.0


class TritonResponder:
    """The client of one request, through Triton's response sender.

    Triton forgets a request with its last response, and dies when it is asked about it after that: so asking and
    sending exclude each other, and nothing is asked or sent once the last response went out.
    """

    def __init__(self, sender: Any) -> None:
        self._sender = sender
        self._lock = threading.Lock()
        self._over = False

    def send(self, part: Part) -> None:
        """Send one response; a reason makes it the last."""
        tensors = [pb_utils.Tensor(name, array) for name, array in write_part(part).items()]
        self._hand_over(pb_utils.InferenceResponse(output_tensors=tensors), last=part.reason is not None)

    def fail(self, message: str, *, client_fault: bool, cancelled: bool = False) -> None:
        """End with an error."""
        kinds = pb_utils.TritonError
        code = kinds.CANCELLED if cancelled else kinds.INVALID_ARG if client_fault else kinds.INTERNAL
        self._hand_over(pb_utils.InferenceResponse(error=kinds(message, code)), last=True)

    def gone(self) -> bool:
        """True if Triton knows that nobody waits for the answer."""
        with self._lock:
            return not self._over and bool(self._sender.is_cancelled())

    def _hand_over(self, response: Any, *, last: bool) -> None:
        flags = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL if last else 0
        with self._lock:
            if self._over:
                return
            self._over = last
            try:
                self._sender.send(response, flags)
            except Exception:
                # The engine must go on for the other requests, whatever became of this client.
                log.exception("a response could not be sent")


class TritonPythonModel:
    """The leaf model of the contract: decoupled, any number of requests side by side."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the engine that model.yaml names. An error here makes Triton exit, and the pod restart."""
        configure_logging()
        self._guard = Guard(server=os.getppid())
        config = load_config(Path(args["model_repository"]) / args["model_version"] / "model.yaml")
        self._context_length = config.context_length
        self._engine = load_engine(config)
        self._registry = Registry()
        self._metrics = Metrics(capacity=config.capacity, cache_tokens=config.context_length * config.max_concurrency)
        self._closing = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="watch-clients", daemon=True)
        self._watcher.start()
        log.info("engine ready", extra={"engine": config.engine, "model": config.model.name})

    def execute(self, requests: list[Any]) -> None:
        """Begin every request and return: responses are sent by other threads (decoupled)."""
        for request in requests:
            responder = TritonResponder(request.get_response_sender())
            try:
                self._begin(request, responder)
            except InvalidRequestError as error:
                responder.fail(str(error), client_fault=True)

    def finalize(self) -> None:
        """End what still runs and free the model."""
        self._closing.set()
        for running in self._registry.running():
            running.cancel()
        self._engine.close()
        self._guard.dismiss()

    def _begin(self, request: Any, responder: TritonResponder) -> None:
        tensors = {
            name: tensor.as_numpy()
            for name in INPUTS
            if (tensor := pb_utils.get_input_tensor_by_name(request, name)) is not None
        }
        id = request.request_id()  # noqa: A001 - Triton's own word for it
        if read_flag(tensors, contract.STOP):
            _in_background(lambda: self._stop(id, responder))
            return
        generation = read_generation(tensors=tensors, id=id, context_length=self._context_length)
        streaming = read_flag(tensors, contract.STREAMING)
        self._engine.submit(generation, self._registry.begin(id=id, streaming=streaming, responder=responder))

    def _stop(self, id: str, responder: TritonResponder) -> None:  # noqa: A002
        """Stop a request by its id, and answer its totals; so its counts are not lost with its connection."""
        if not id:
            responder.fail("a stop request needs the id of the request to stop", client_fault=True)
            return
        outcome = self._registry.stop(id=id, timeout=_STOP_TIMEOUT_SECONDS)
        if outcome is None:
            responder.fail(f"no request {id} runs, or ended lately, on this server", client_fault=True)
            return
        totals = Part(
            text="",
            input_tokens=outcome.input_tokens,
            output_tokens=outcome.output_tokens,
            reason=outcome.reason,
        )
        responder.send(totals)

    def _watch(self) -> None:
        """Triton does not call back when a client goes: ask, often enough that no engine works for nobody."""
        while not self._closing.wait(_POLL_SECONDS):
            try:
                running = self._registry.running()
                for request in running:
                    request.poll()
                self._metrics.observe(len(running), tokens=sum(request.tokens for request in running))
            except Exception:
                # Without this thread nothing would ever be cancelled again.
                log.exception("looking after the clients failed once")


class Metrics:
    """Gauges with the names that TensorRT-LLM's own backend uses, so that the same scaling rules read both.

    The use of the cache is told by the tokens of the running sequences, as a part of what the plan has room for: no
    engine behind this model tells its blocks. Those that are kept for reuse are free for a new sequence, so they count
    as free.
    """

    def __init__(self, *, capacity: int, cache_tokens: int) -> None:
        self._capacity = capacity
        self._cache_tokens = cache_tokens
        requests = _family("nv_trt_llm_request_metrics", "Requests in the engine, by state")
        cache = _family(contract.CACHE_METRIC, "Key-value cache of the engine")
        # Triton forgets the gauges of a family that nobody holds any more.
        self._families = (requests, cache)
        kinds = ("active", "max", "scheduled", "waiting")
        self._gauges = {kind: _gauge(requests, "request_type", kind) for kind in kinds}
        self._cache_used = _gauge(cache, contract.CACHE_METRIC_LABEL, contract.CACHE_USED_PART)
        self._gauges["max"].set(capacity)
        self._last = (-1, -1.0)

    def observe(self, active: int, *, tokens: int) -> None:
        """Set the gauges; what exceeds the capacity waits."""
        used = round(min(1.0, tokens / self._cache_tokens), 3)
        if (active, used) == self._last:
            return
        self._last = (active, used)
        self._gauges["active"].set(active)
        self._gauges["scheduled"].set(min(active, self._capacity))
        self._gauges["waiting"].set(max(active - self._capacity, 0))
        self._cache_used.set(used)


def _family(name: str, description: str) -> Any:
    return pb_utils.MetricFamily(name=name, description=description, kind=pb_utils.MetricFamily.GAUGE)


def _gauge(family: Any, label: str, kind: str) -> Any:
    """A gauge of the family, with the labels that TensorRT-LLM's own backend gives it."""
    return family.Metric(labels={"model": contract.MODEL_NAME, "version": "1", label: kind})


def _in_background(action: Callable[[], None]) -> None:
    threading.Thread(target=action, daemon=True).start()
