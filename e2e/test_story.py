"""The demonstration's story, each step asserted on the real parts: Kubernetes, PostgreSQL, Triton, a model."""

import pytest
from paddock_local.demo.steps import STEPS

pytestmark = pytest.mark.stack


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_step(world, step, told):
    """A step needs those before it: after one that failed, the others fail with its name instead of odd errors."""
    assert not told.failed, f"the step {told.failed} failed before"
    told.failed = step.__name__
    step(world)
    told.failed = ""
