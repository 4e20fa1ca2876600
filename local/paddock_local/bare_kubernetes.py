"""A real etcd and kube-apiserver for tests and benchmarks: nothing else, so that nothing acts but the operator.

`paddock_local.stack` starts the whole of Kubernetes instead, with a node that runs pods.
"""

import atexit
import contextlib
import functools
import itertools
import json
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from paddock_local.paths import find_checkout

START_SECONDS = 60.0
PORTS = 10
PORT_RANGE, SINGLE_PORTS = (20000, 32000), range(10000, 20000)
"""Below those that the kernel hands out for outgoing connections: it would give one to somebody before it is used."""
OWN_PORTS = 500
"""How many of the single ports a process has to itself."""

USERS = {
    "admin": ("admin", "system:masters"),
    "operator": ("paddock-operator", "paddock"),
    "tenant": ("someone-of-acme", "acme"),
}


class NoKubernetesError(RuntimeError):
    """The Kubernetes binary is not there; the message names the command that builds it."""


@dataclass(frozen=True)
class KubeApi:
    """A running API server. `kubeconfigs` maps a short name of a user to a file."""

    url: str
    folder: Path
    kubeconfigs: dict[str, Path]

    def kubectl(
        self, *arguments: str, user: str = "admin", stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the real kubectl as this user."""
        return subprocess.run(
            [find_kubectl(), "--kubeconfig", str(self.kubeconfigs[user]), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def apply(self, *documents: Mapping[str, object], user: str = "admin") -> subprocess.CompletedProcess[str]:
        """`kubectl apply --server-side` of these documents."""
        # JSON: a digest like 12e34 is a string to Python's YAML and a number to kubectl's.
        text = "\n---\n".join(map(json.dumps, documents))
        return self.kubectl("apply", "--server-side", "-f", "-", user=user, stdin=text)


def find_binary() -> Path:
    """The multi-call binary: named by PADDOCK_KUBERNETES_BIN, else the one that `paddock local build` made."""
    named = os.environ.get("PADDOCK_KUBERNETES_BIN")
    if named and (Path(named) / "kubernetes").exists():
        return Path(named) / "kubernetes"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "paddock" / "kubernetes"
    built = sorted(cache.glob("*/kubernetes"), key=lambda path: path.stat().st_mtime)
    if not built:
        raise NoKubernetesError(
            "no Kubernetes binary: run `paddock local build`, or name its folder in PADDOCK_KUBERNETES_BIN"
        )
    return built[-1]


_STARTER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="starter")
"""One thread starts all processes: the kernel takes the end of the thread that started one for the end of its parent,
and this thread ends with us."""


def start(command: Sequence[str], *, output: IO[bytes], **options: Any) -> subprocess.Popen[bytes]:
    """Start a process that writes both of its outputs there, and is killed when this one ends, however it ends."""

    def begin() -> subprocess.Popen[bytes]:
        first = (sys.executable, "-P", "-m", "paddock_local.ends_with_parent", str(os.getpid()))
        return subprocess.Popen([*first, *command], stdout=output, stderr=subprocess.STDOUT, **options)

    return _STARTER.submit(begin).result()


def find_kubectl() -> str:
    """The environment's kubectl, since the machine's own may be too old for this API server."""
    own = Path(sys.executable).parent / "kubectl"
    return str(own) if own.exists() else shutil.which("kubectl") or "kubectl"


@functools.cache
def _own_ports() -> Iterator[int]:
    """The ports of this process, over and over. One more beside them is kept open while it lives: by that another
    process sees that they are taken, also those that are about to be used."""
    blocks = range(SINGLE_PORTS.start, SINGLE_PORTS.stop, OWN_PORTS)
    for first in random.sample(blocks, len(blocks)):
        keeper = socket.socket()
        try:
            keeper.bind(("127.0.0.1", first))
            keeper.listen()
        except OSError:
            keeper.close()
            continue
        atexit.register(keeper.close)
        return itertools.cycle(random.sample(range(first + 1, first + OWN_PORTS), OWN_PORTS - 1))
    raise RuntimeError(f"every block between {SINGLE_PORTS.start} and {SINGLE_PORTS.stop} has a process that uses it")


def free_port() -> int:
    """A port on which nothing listens now, and which nobody else who asks here gets, in whatever process."""
    for port in itertools.islice(_own_ports(), OWN_PORTS - 1):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError(f"none of the {OWN_PORTS - 1} ports of this process is free")


@contextlib.contextmanager
def free_ports() -> Iterator[int]:
    """The first of PORTS consecutive ports that are free and stay with the caller until the block ends: the last one is
    kept open, by which another run sees that the others are taken too."""
    first, last = PORT_RANGE
    for base in random.sample(range(first, last - PORTS, PORTS), 200):
        with contextlib.ExitStack() as sockets:
            try:
                for number in range(PORTS - 1):
                    with socket.socket() as probe:
                        probe.bind(("127.0.0.1", base + number))
                keeper = sockets.enter_context(socket.socket())
                keeper.bind(("127.0.0.1", base + PORTS - 1))
                keeper.listen()
            except OSError:
                continue
            yield base
            return
    raise RuntimeError(f"no {PORTS} consecutive ports are free between {first} and {last}")


@contextlib.contextmanager
def running_api(folder: Path, *, base_port: int, flags: Sequence[str] = ()) -> Iterator[KubeApi]:
    """Start etcd on base_port (+1), the API server on base_port+2, install what Paddock needs; stop both at the end.
    `flags` are given to the API server beside its own."""
    binary = find_binary()
    _write_keys(folder)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_process([str(binary), "etcd", *_etcd_flags(folder, base_port)], folder / "etcd.log"))
        url = f"https://127.0.0.1:{base_port + 2}"
        stack.enter_context(
            _process([str(binary), "kube-apiserver", *_api_flags(folder, base_port), *flags], folder / "api.log")
        )
        _wait_ready(url, folder)
        api = KubeApi(url=url, folder=folder, kubeconfigs=_write_kubeconfigs(folder, url))
        _install(api)
        yield api


def _write_keys(folder: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "sa.key").write_bytes(pem)
    lines = [f'{name}-token,{user},{name},"{group}"' for name, (user, group) in USERS.items()]
    (folder / "tokens.csv").write_text("\n".join(lines) + "\n")


def _etcd_flags(folder: Path, base_port: int) -> list[str]:
    client, peer = f"http://127.0.0.1:{base_port}", f"http://127.0.0.1:{base_port + 1}"
    return [
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
    ]


def _api_flags(folder: Path, base_port: int) -> list[str]:
    return [
        f"--etcd-servers=http://127.0.0.1:{base_port}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--secure-port={base_port + 2}",
        f"--cert-dir={folder / 'certs'}",
        f"--token-auth-file={folder / 'tokens.csv'}",
        "--authorization-mode=RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={folder / 'sa.key'}",
        f"--service-account-signing-key-file={folder / 'sa.key'}",
        "--service-cluster-ip-range=10.0.0.0/24",
        # Without a controller manager nobody makes the `default` ServiceAccount that this plugin demands.
        "--disable-admission-plugins=ServiceAccount",
    ]


@contextlib.contextmanager
def _process(command: list[str], log: Path) -> Iterator[None]:
    with log.open("wb") as output:
        process = start(command, output=output, start_new_session=True)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_ready(url: str, folder: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    request = urllib.request.Request(f"{url}/readyz", headers={"Authorization": "Bearer admin-token"})  # noqa: S310
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(request, context=context, timeout=2) as answer:  # noqa: S310
                if answer.status == 200:
                    return
        except urllib.error.HTTPError as error:
            error.close()  # an error is an answer too: it holds the connection
        except OSError:
            pass
        time.sleep(0.2)
    tail = (folder / "api.log").read_text()[-2000:]
    raise RuntimeError(f"kube-apiserver was not ready within {START_SECONDS:.0f} s:\n{tail}")


def _write_kubeconfigs(folder: Path, url: str) -> dict[str, Path]:
    files = {}
    for name in USERS:
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [
                {
                    "name": "test",
                    "cluster": {"server": url, "certificate-authority": str(folder / "certs" / "apiserver.crt")},
                }
            ],
            "users": [{"name": "test", "user": {"token": f"{name}-token"}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        }
        files[name] = folder / f"{name}.yaml"
        files[name].write_text(yaml.safe_dump(document))
    return files


def _install(api: KubeApi) -> None:
    """The namespace of the platform, the custom resource and the access rights, as `paddock local up` installs them."""
    checkout = find_checkout()
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "paddock-system"}}
    done = [api.apply(namespace)]
    files = checkout / "charts/paddock/files"
    for folder in (checkout / "crds", files / "rbac", files / "priorities"):
        done += [api.kubectl("apply", "--server-side", "-f", str(folder))]
    for name in ("llamadeployments", "llamamodels"):
        wanted = f"crd/{name}.paddock.dev"
        done.append(api.kubectl("wait", "--for=condition=Established", wanted, "--timeout=30s"))
    failed = [result.stderr for result in done if result.returncode != 0]
    if failed:
        raise RuntimeError(f"could not install Paddock's resources: {failed}")
