import socket

from paddock_local.bare_kubernetes import SINGLE_PORTS, free_port


def test_a_port_is_free_and_given_once() -> None:
    given = [free_port() for _ in range(50)]
    assert len(set(given)) == len(given)
    for port in given:
        with socket.create_server(("127.0.0.1", port)):
            pass


def test_none_is_one_that_the_kernel_may_give_to_somebody_else() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        assert probe.getsockname()[1] not in SINGLE_PORTS


def test_a_port_that_is_taken_is_passed_over() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as held:
        taken = held.getsockname()[1]
        assert taken not in [free_port() for _ in range(len(SINGLE_PORTS) - 1)]
