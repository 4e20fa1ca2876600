"""Every fault of `make faults`, in its short form: nothing is lost, doubled or billed wrongly."""

import pytest

from faults.__main__ import HURRY, kinds
from faults.scene import Scene

pytestmark = pytest.mark.stack


@pytest.fixture
def scene(stack, world, serving):
    world.paddock(*HURRY)
    return Scene(stack=stack, world=world)


@pytest.mark.parametrize("name", sorted(kinds()))
def test_what_clients_received_is_what_the_ledger_holds(scene, name):
    kind = kinds()[name]
    verdict = kind.play(scene, kind.SHORT)
    assert verdict.clean, verdict
    assert verdict.answers > 0
