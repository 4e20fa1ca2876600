"""The gauges that scaling and endpoint pickers read: what waits is what exceeds the engine's own limit, and the used
part of the key-value cache is that of the running sequences.

Triton's own module exists inside its stub alone, so a stand-in records what the gauges were set to.
"""

import importlib
import sys
from types import ModuleType, SimpleNamespace

import pytest
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.planning.fit import plan
from paddock_core.planning.gpus import hypothetical
from paddock_core.planning.types import Ask, Inventory
from paddock_core.serving import contract
from paddock_core.serving.triton_config import model_yaml

CASES = [
    ("llama-3.1-8b-instruct", hypothetical(gpu="H100-80"), None),
    ("llama-3.1-8b-instruct", hypothetical(gpu="H100-80"), 12),
    ("smollm2-135m-instruct", Inventory(), None),
]


@pytest.fixture
def gauges() -> dict[str, float]:
    return {}


@pytest.fixture
def model(monkeypatch, gauges):
    """The model as Triton's stub has it, with an engine that loads nothing."""

    class Family:
        GAUGE = 0

        def __init__(self, **_):
            pass

        def Metric(self, *, labels):  # noqa: N802 - Triton's name
            return SimpleNamespace(set=lambda value: gauges.__setitem__(list(labels.values())[-1], value))

    triton = ModuleType("triton_python_backend_utils")
    triton.MetricFamily = Family
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", triton)
    monkeypatch.delitem(sys.modules, "paddock_serving.model", raising=False)
    module = importlib.import_module("paddock_serving.model")
    monkeypatch.setattr(module, "Guard", lambda **_: SimpleNamespace(dismiss=lambda: None))
    monkeypatch.setattr(module, "configure_logging", lambda: None)
    monkeypatch.setattr(module, "load_engine", lambda _: SimpleNamespace(close=lambda: None))
    found = module.TritonPythonModel()
    yield found
    found.finalize()
    sys.modules.pop("paddock_serving.model", None)


@pytest.mark.parametrize(("name", "inventory", "asked"), CASES)
def test_what_the_engine_runs_does_not_count_as_waiting(tmp_path, model, gauges, name, inventory, asked):
    found = plan(model=packaged_catalog().models[name], ask=Ask(max_concurrency=asked), inventory=inventory)
    repository = tmp_path / contract.MODEL_NAME
    (repository / "1").mkdir(parents=True)
    (repository / "1" / "model.yaml").write_text(model_yaml(found, model_path="/weights/abc"), encoding="utf-8")
    model.initialize({"model_repository": str(repository), "model_version": "1"})
    model._closing.set()
    model._watcher.join()
    most = found.max_batch_size
    assert gauges["max"] == most
    model._metrics.observe(most, tokens=0)
    assert (gauges["active"], gauges["scheduled"], gauges["waiting"]) == (most, most, 0)
    model._metrics.observe(most + 3, tokens=0)
    assert (gauges["active"], gauges["scheduled"], gauges["waiting"]) == (most + 3, most, 3)
    assert gauges[contract.CACHE_USED_PART] == 0
    room = found.context_length * found.max_concurrency
    model._metrics.observe(most + 3, tokens=room // 4)
    assert gauges[contract.CACHE_USED_PART] == pytest.approx(0.25, abs=0.001)
    model._metrics.observe(most + 3, tokens=room * 4)
    assert gauges[contract.CACHE_USED_PART] == 1
