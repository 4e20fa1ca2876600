import socket

import pytest
from paddock_local import preflight
from paddock_local.errors import PreflightError
from paddock_local.paths import StackPaths
from paddock_local.ports import Ports


def free_base():
    """A base of which at least the first port is free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return min(probe.getsockname()[1], 65000)


def test_a_busy_port_is_named_with_its_listener_and_the_way_out():
    base = free_base()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", base))
        taken.listen()
        with pytest.raises(PreflightError, match=rf"{base} \(gateway\).*PADDOCK_PORT_BASE"):
            preflight.check_ports(Ports(base), ["gateway"])


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(preflight, "NEEDED_BYTES", 10**18)
    with pytest.raises(PreflightError, match="free some"):
        preflight.check_disk(StackPaths(checkout=tmp_path, name="t"))


def test_without_user_namespaces_the_message_says_what_to_set(monkeypatch):
    monkeypatch.setattr(preflight, "TRY_NAMESPACE", "raise PermissionError('unshare: Operation not permitted')")
    with pytest.raises(PreflightError, match=r"Operation not permitted.*--context NAME"):
        preflight.check_namespaces()


def test_an_interpreter_without_its_library_names_the_package(monkeypatch):
    monkeypatch.setattr(
        preflight.sysconfig, "get_config_var", {"INSTSONAME": "libpython3.11.a", "LIBDIR": "/usr/lib"}.get
    )
    with pytest.raises(PreflightError, match="apt-get install libpython3"):
        preflight.check_interpreter()
