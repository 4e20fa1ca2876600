import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddock_local.cri.addresses import HOSTS, Addresses


@given(st.sets(st.integers(1, HOSTS * HOSTS), max_size=50), st.integers(0, HOSTS * HOSTS))
def test_an_address_in_use_is_never_given_again(used, last):
    taken = {f"127.9.{(number - 1) // HOSTS + 1}.{(number - 1) % HOSTS + 1}" for number in used}
    addresses = Addresses("127.9", taken=taken, last=last)
    given_out = [addresses.take() for _ in range(30)]
    assert len(set(given_out)) == 30
    assert not set(given_out) & taken
    assert all(address.startswith("127.9.") for address in given_out)


def test_one_that_came_back_is_given_last():
    addresses = Addresses("127.1", taken=set())
    first = addresses.take()
    addresses.give_back(first)
    assert addresses.take() != first


def test_a_new_runtime_goes_on_where_the_old_one_stood():
    old = Addresses("127.1", taken=set())
    used = [old.take() for _ in range(3)]
    assert Addresses("127.1", taken=set(), last=old.last).take() not in used


def test_when_all_are_used_the_message_says_what_to_do():
    addresses = Addresses("127.1", taken=set())
    for _ in range(HOSTS * HOSTS):
        addresses.take()
    with pytest.raises(RuntimeError, match="delete some pods"):
        addresses.take()
