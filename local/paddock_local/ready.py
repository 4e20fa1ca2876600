"""How a part says that it is ready."""

import http.client
import json
import socket
import ssl
import subprocess
from collections.abc import Callable

from paddock_local import database
from paddock_local.programs import HOST, Context

TIMEOUT_S = 2.0
Check = Callable[[Context], bool]


def _client(c: Context, *, etcd: bool) -> ssl.SSLContext:
    x = c.certificates
    authority, pair = (x.etcd_authority, x.apiserver_to_etcd) if etcd else (x.authority, x.apiserver_to_kubelet)
    context = ssl.create_default_context(cafile=str(authority.pair.certificate))
    context.load_cert_chain(pair.certificate, pair.key)
    return context


def _status(port: int, path: str, tls: ssl.SSLContext | None = None) -> int:
    connection = (
        http.client.HTTPSConnection(HOST, port, timeout=TIMEOUT_S, context=tls)
        if tls
        else http.client.HTTPConnection(HOST, port, timeout=TIMEOUT_S)
    )
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def http_ok(listener: str, path: str) -> Check:
    """200 from a plain HTTP listener of the stack."""
    return lambda c: _status(c.ports[listener], path) == http.client.OK


def kubernetes_ok(listener: str, path: str) -> Check:
    """200 from a listener that wants a Kubernetes client certificate."""
    return lambda c: _status(c.ports[listener], path, _client(c, etcd=False)) == http.client.OK


def etcd(c: Context) -> bool:
    """etcd has a leader and answers."""
    return _status(c.ports["etcd"], "/health", _client(c, etcd=True)) == http.client.OK


def tls_up(listener: str, path: str) -> Check:
    """Any answer from a TLS listener whose certificate is its own."""

    def check(c: Context) -> bool:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return _status(c.ports[listener], path, context) == http.client.OK

    return check


def postgres(c: Context) -> bool:
    """PostgreSQL answers and has our database."""
    return database.ready(c.paths, c.ports["postgres"])


def cri(c: Context) -> bool:
    """The container runtime accepts connections."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(TIMEOUT_S)
        return probe.connect_ex(str(c.paths.cri_socket)) == 0


def node(c: Context) -> bool:
    """The kubelet is well and the API server says that the node is Ready."""
    if _status(c.ports["kubelet_health"], "/healthz") != http.client.OK:
        return False
    path = "/api/v1/nodes/localhost"
    connection = http.client.HTTPSConnection(
        HOST, c.ports["apiserver"], timeout=TIMEOUT_S, context=_client(c, etcd=False)
    )
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        conditions = json.loads(answer.read())["status"]["conditions"] if answer.status == http.client.OK else []
    except (OSError, http.client.HTTPException, ValueError, KeyError):
        return False
    finally:
        connection.close()
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)


def always(_: Context) -> bool:
    """Nothing to wait for: the supervisor's word is enough."""
    return True


def migrate(c: Context, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Bring the database to the newest schema."""
    command = [str(c.paths.venv_bin / "paddock-controlplane"), "migrate"]
    return subprocess.run(command, env=env, cwd=c.paths.root, capture_output=True, text=True, check=False)
