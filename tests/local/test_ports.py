import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddock_local.errors import LocalError
from paddock_local.ports import BLOCK, OFFSETS, Ports, ports_for


def test_the_documented_ports_of_the_two_stacks():
    demo, e2e = ports_for(stack="demo", base=None), ports_for(stack="e2e", base=None)
    assert (demo["gateway"], demo["controlplane"], demo["apiserver"], demo["postgres"]) == (7400, 7401, 7402, 7412)
    assert (demo.pod_subnet, e2e.pod_subnet) == ("127.1", "127.2")
    assert not set(demo.all().values()) & set(e2e.all().values())


def test_a_base_that_was_set_wins():
    assert ports_for(stack="demo", base=9000)["gateway"] == 9000


@pytest.mark.parametrize("base", [80, 65500])
def test_a_base_without_room_is_refused_with_what_to_set(base):
    with pytest.raises(LocalError, match="PADDOCK_PORT_BASE"):
        Ports(base)


@given(st.integers(1024, 65535 - BLOCK))
def test_every_listener_has_a_port_of_its_own_and_pods_a_loopback_subnet(base):
    ports = Ports(base)
    assert len(set(ports.all().values())) == len(OFFSETS)
    assert max(ports.all().values()) <= 65535
    assert 1 <= int(ports.pod_subnet.removeprefix("127.")) <= 250


@given(st.integers(1024, 60000), st.integers(1, 40))
def test_stacks_a_block_apart_share_no_pod_subnet(base, blocks):
    assert Ports(base).pod_subnet != Ports(base + blocks * BLOCK).pod_subnet
