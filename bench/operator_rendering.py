"""How fast the operator plans and renders: N LlamaDeployments applied at once on a real API server.

Nothing else of Kubernetes runs, so what is measured is the operator and the API server. Prints seconds until every
deployment has a plan in its status and a Deployment in the serving namespace, the writes per second of the API server
for the same manifests by a bare client in the same run, the operator's memory, and the CPU of a look at all of them.

Usage: python bench/operator_rendering.py [--deployments 100]
"""

import argparse
import asyncio
import importlib.util
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
from paddock_local import bare_kubernetes

REPOSITORY = Path(__file__).resolve().parents[1]
BASE_PORT = 7740


def load(name: str) -> ModuleType:
    """A helper of the operator's tests."""
    path = REPOSITORY / "tests" / "operator" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def environment(api: Any, policy: Any, folder: Path, token: str) -> dict[str, str]:
    """Settings of the operator."""
    (folder / "token").write_text(token)
    (folder / "key").write_text("platform-key-of-the-benchmark")
    make_certificate(folder)
    settings = {
        "KUBECONFIG": str(api.kubeconfigs["operator"]),
        "CONTROLPLANE_URL": policy.url,
        "GATEWAY_URL": "http://gateway.test",
        "INTERNAL_TOKEN_FILE": str(folder / "token"),
        "PLATFORM_KEY_FILE": str(folder / "key"),
        "WEBHOOK_PORT": str(BASE_PORT + 5),
        "WEBHOOK_CERT_FILE": str(folder / "tls.crt"),
        "WEBHOOK_KEY_FILE": str(folder / "tls.key"),
        "HEALTH_PORT": str(BASE_PORT + 6),
        "SERVING_IMAGE": "registry.test/serving:1",
        "WEIGHTS_VOLUME": json.dumps({"emptyDir": {}}),
        "CACHE_DIR": str(folder / "cache"),
    }
    return {"PATH": os.environ["PATH"], **{f"PADDOCK_OPERATOR_{name}": value for name, value in settings.items()}}


def make_certificate(folder: Path) -> None:
    """A self-signed certificate: the webhook is not called here, but the operator wants one."""
    import datetime as dt

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "benchmark")])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + dt.timedelta(days=1))
    pem = serialization.Encoding.PEM
    (folder / "tls.crt").write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(pem))
    none = serialization.NoEncryption()
    (folder / "tls.key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, none))


async def until(probe: Any, seconds: float = 300.0) -> None:
    """Wait until a function returns true."""
    deadline = time.monotonic() + seconds
    while not await asyncio.to_thread(probe):
        if time.monotonic() > deadline:
            raise TimeoutError("the benchmark did not come to its end")
        await asyncio.sleep(0.25)


def items(api: Any, *what: str) -> list[dict[str, Any]]:
    """`kubectl get -o json` of a list."""
    found: list[dict[str, Any]] = json.loads(api.kubectl("get", *what, "-o", "json").stdout)["items"]
    return found


def planned(api: Any, count: int) -> bool:
    """True if every deployment is planned and rendered."""
    done = [item for item in items(api, "llamadeployments", "-n", "acme") if item.get("status", {}).get("plan")]
    return len(done) >= count and len(items(api, "deployments", "-n", "paddock-serving-acme")) >= count


def cpu_seconds(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    """Resident memory of a process."""
    line = next(row for row in Path(f"/proc/{pid}/status").read_text().splitlines() if row.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


async def bare_client(api: Any, count: int) -> float:
    """Seconds that a bare client needs for the operator's writes: its children applied to another namespace."""
    from paddock_operator.adapters.cluster import LightkubeCluster, connect

    wanted = []
    for kind in ("configmaps", "serviceaccounts", "services", "networkpolicies", "poddisruptionbudgets", "deployments"):
        for item in items(api, kind, "-n", "paddock-serving-acme")[:count]:
            metadata = {name: item["metadata"].get(name) for name in ("name", "labels", "annotations")}
            bare = {name: value for name, value in item.items() if name != "status"}
            wanted.append({**bare, "metadata": {**metadata, "namespace": "bare"}})
    api.kubectl("create", "namespace", "bare")
    cluster = LightkubeCluster(connect(api.kubeconfigs["operator"]), may_write=lambda: None)
    slots = asyncio.Semaphore(8)

    async def write(manifest: dict[str, Any]) -> None:
        async with slots:
            await cluster.apply(manifest)

    begin = time.monotonic()
    await asyncio.gather(*(write(manifest) for manifest in wanted))
    seconds = time.monotonic() - begin
    await cluster.close()
    print(f"bare client          {len(wanted)} applies in {seconds:.1f} s")
    return seconds


async def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deployments", type=int, default=100)
    count = parser.parse_args().deployments
    parts, policy_server = load("cluster_parts"), load("policy_server")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with bare_kubernetes.running_api(folder, base_port=BASE_PORT) as api:
            api.kubectl("create", "namespace", "acme")
            policy = policy_server.PolicyServer()
            policy.put(*policy_server.registered(), *policy_server.accepted("acme-inc"))
            async with policy_server.serving(policy, port=BASE_PORT + 7):
                await measure(api, parts, environment(api, policy, folder, policy_server.TOKEN), count)


async def measure(api: Any, parts: Any, settings: dict[str, str], count: int) -> None:
    """One run against a running API server."""
    operator = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("paddock-operator")), env=settings, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await asyncio.to_thread(api.apply, parts.deployment(name="first"))
        job = "weights-b179c9523d0e"
        await until(lambda: parts.get(api, "job", job, "-n", "paddock-weights"))
        await asyncio.to_thread(parts.finish_weights, api, job)
        await until(lambda: planned(api, 1))
        documents = [parts.deployment(name=f"d{number:04}") for number in range(count)]
        cpu, begin = cpu_seconds(operator.pid), time.monotonic()
        await asyncio.to_thread(api.apply, *documents)
        applied = time.monotonic()
        await until(lambda: planned(api, count + 1))
        done = time.monotonic()
        print(f"deployments          {count}")
        print(f"kubectl apply        {applied - begin:.1f} s")
        print(f"planned and rendered {done - begin:.1f} s after the first apply, {done - applied:.1f} s after the last")
        print(f"operator CPU         {cpu_seconds(operator.pid) - cpu:.1f} s")
        print(f"operator memory      {resident_mib(operator.pid):.0f} MiB")
        print(f"rounds               {await rounds(settings)}")
        await bare_client(api, count)
    finally:
        operator.terminate()
        await operator.wait()


async def rounds(settings: dict[str, str]) -> str:
    """Rounds so far, from the operator's own metrics."""
    url = f"http://127.0.0.1:{settings['PADDOCK_OPERATOR_HEALTH_PORT']}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        lines = (await response.text()).splitlines()
    return next((line.rsplit(" ", 1)[1] for line in lines if line.startswith("paddock_operator_rounds_total")), "?")


if __name__ == "__main__":
    asyncio.run(main())
