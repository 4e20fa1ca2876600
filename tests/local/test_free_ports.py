import itertools
import socket
import subprocess
import sys

from paddock_local.bare_kubernetes import OWN_PORTS, SINGLE_PORTS, free_port


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
        assert taken not in [free_port() for _ in range(OWN_PORTS - 2)]


def test_processes_that_live_at_once_get_none_of_each_other() -> None:
    program = (
        "import random; from paddock_local.bare_kubernetes import OWN_PORTS, free_port; random.seed(1);"
        "print(*(free_port() for _ in range(OWN_PORTS // 2)), flush=True); input()"
    )
    command = [sys.executable, "-c", program]
    others = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    try:
        given = [{int(word) for word in other.stdout.readline().split()} for other in others]
    finally:
        for other in others:
            other.communicate("\n")
    given.append({free_port() for _ in range(OWN_PORTS // 2)})
    assert all(len(ports) == OWN_PORTS // 2 and ports <= set(SINGLE_PORTS) for ports in given)
    assert all(one.isdisjoint(two) for one, two in itertools.combinations(given, 2))
