"""Every fault of `make faults`, in its short form: nothing is lost, doubled or billed wrongly."""

import pytest

from faults.__main__ import kinds
from faults.scene import Scene

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]


@pytest.mark.parametrize("name", sorted(kinds()))
def test_what_clients_received_is_what_the_ledger_holds(stack, world, serving, name):
    kind = kinds()[name]
    verdict = kind.play(Scene(stack=stack, world=world), kind.SHORT)
    assert verdict.clean, verdict
    assert verdict.answers > 0
