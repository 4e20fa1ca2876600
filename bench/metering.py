"""The metering path: each figure of it, taken in one run, against its target.

`python -m bench metering`. Gateways and LiteLLM are held to one core, load generator and upstream to the other, and
take turns: a round of each, several rounds, the median counts. LiteLLM and the profiler lie in environments of the
benchmark's own under .paddock/bench. A target that is missed is printed as missed.
"""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metering_profile import where_time_goes
from metering_world import (
    LITELLM_ENVIRONMENT,
    LITELLM_VERSION,
    MASTER_KEY,
    answers,
    litellm_config,
    tool,
)

import gateway as base

HERE = Path(__file__).parent
OFF, OFF_METRICS, LITELLM, UPSTREAM, OFF_INTERNAL = 7720, 7721, 7722, 7723, 7724
ROUNDS = 6
CONNECTIONS = 64
STREAMS = 2200
STREAM_TOKENS, STREAM_PACE_MS = 8, 2000


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measure. `met` is None where there is nothing to judge."""

    measure: str
    figure: str
    target: str
    met: bool | None

    def line(self) -> str:
        """Of the table."""
        verdict = {True: "met", False: "MISSED", None: "not measured"}[self.met]
        return f"| {self.measure} | {self.figure} | {self.target} | {verdict} |"


def say(text: str) -> None:
    """Progress, beside the table."""
    print(text, file=sys.stderr, flush=True)


# parts that need no gateway


def ledger_row() -> Row:
    """The ledger's own benchmark, in short."""
    say("ledger ingest ...")
    command = [sys.executable, str(HERE / "ledger.py"), "--rows", "120000"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=240)
    lines = [line.split("|") for line in done.stdout.splitlines()]
    ways = [cells for cells in lines if len(cells) == 7 and cells[2].strip().isdigit()]
    found = {cells[1].strip(): float(cells[2]) for cells in ways if "again" not in cells[1]}
    target = ">= 30,000 rows/s"
    if not found:
        return Row(measure="ledger ingest", figure=f"failed: {done.stderr[-200:]!r}", target=target, met=None)
    # Judged by HTTP: that is how gateways send, and the control plane then has a process of its own.
    told = ", ".join(f"{rows:,.0f} rows/s by {way}" for way, rows in found.items())
    return Row(
        measure="ledger ingest, exactly once, roll-ups included",
        figure=told,
        target=target,
        met=found.get("HTTP", 0.0) >= 30_000,
    )


def journal_row(folder: Path) -> Row:
    """The journal alone, on the disk of this checkout."""
    say("journal ...")
    command = [sys.executable, str(HERE / "metering_journal.py"), str(folder / "journal-alone")]
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    figure = f"p99 {found['p99']:.2f} ms, p50 {found['p50']:.2f} ms, at {found['requests_per_second']:,.0f} requests/s"
    held = found["requests_per_second"] > 1950
    return Row(
        measure="journal, append to durable (two a request)",
        figure=figure,
        target="p99 <= 5 ms at 2,000 requests/s",
        met=found["p99"] <= 5 and held,
    )


def quota_row() -> Row:
    """The quota core's own benchmark, in short."""
    say("quota core ...")
    command = [sys.executable, str(HERE / "quotas.py"), "--seconds", "1"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rows = [line.split("|") for line in printed.splitlines() if line.startswith("| ") and "decisions" not in line]
    figures = {int(cells[2]): float(cells[3].replace(",", "")) for cells in rows}
    told = ", ".join(f"{rate:,.0f}/s with {checked} limits" for checked, rate in figures.items())
    met = min(figures.values()) >= 200_000
    return Row(measure="quota core, decisions, five levels", figure=told, target=">= 200,000/s", met=met)


# the gateways and their peer


def ask_gateway(*, port: int = base.GATEWAY, **options: Any) -> dict[str, Any]:
    """A request to one of the gateways."""
    return {**base.through_gateway(**options), "port": port}


def ask_litellm() -> dict[str, Any]:
    """The same request to LiteLLM."""
    plan = ask_gateway(port=LITELLM)
    body = {name: value for name, value in plan["body"].items() if name not in ("stream", "seed")}
    return {**plan, "headers": {"authorization": f"Bearer {MASTER_KEY}"}, "body": body}


def until_ready(url: str) -> None:
    """Until it answers 200 there."""
    for _ in range(300):
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    raise SystemExit(f"{url} did not become ready")


def turns(plans: dict[str, dict[str, Any]], pids: dict[str, int], seconds: float) -> dict[str, dict[str, float]]:
    """Rounds in which each has its turn: medians of requests/s, CPU a request, p99, and of the first's rate by it."""
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in plans}
    for plan in plans.values():
        base.load(**plan, connections=16, seconds=1.5)
    for number in range(ROUNDS):
        for name, plan in plans.items():
            say(f"round {number + 1}: {name} ...")
            before = base.cpu_seconds(pids[name])
            result = base.load(**plan, connections=CONNECTIONS, seconds=seconds)
            if result["failures"] or not result["requests"]:
                raise SystemExit(f"{name} failed: {result}")
            spent = (base.cpu_seconds(pids[name]) - before) / result["requests"] * 1e6
            found[name].append((result["per_second"], spent, result["p99_ms"]))
    keys = ("per_second", "cpu_us", "p99_ms")
    figures = {
        name: {key: statistics.median(item[at] for item in items) for at, key in enumerate(keys)}
        for name, items in found.items()
    }
    for name, items in found.items():  # of rounds side by side: other work on the machine then counts for both
        pairs = zip(found["on"], items, strict=True)
        figures[name]["on_by_it"] = statistics.median(on[0] / other[0] for on, other in pairs)
    return figures


def cost_row(figures: dict[str, dict[str, float]]) -> Row:
    """On against off."""
    on, off = figures["on"], figures["off"]
    cost = 1 - off["on_by_it"]
    figure = (
        f"{cost:.0%}: {on['per_second']:,.0f} against {off['per_second']:,.0f} requests/s "
        f"({on['cpu_us']:.0f} and {off['cpu_us']:.0f} µs of CPU each)"
    )
    return Row(
        measure="cost of key, license, five-level quota, durable journal, metering",
        figure=figure,
        target="<= 25 % of the requests/s without",
        met=cost <= 0.25,
    )


def peer_row(figures: dict[str, dict[str, float]], problem: str) -> Row:
    """On against LiteLLM."""
    measure = f"requests/s, one core, everything on, against LiteLLM {LITELLM_VERSION} (master key alone)"
    if "litellm" not in figures:
        return Row(measure=measure, figure=f"LiteLLM did not run: {problem}", target=">= 20 x", met=None)
    on, peer = figures["on"], figures["litellm"]
    ratio = peer["on_by_it"]
    figure = f"{ratio:.1f} x: {on['per_second']:,.0f} against {peer['per_second']:,.0f}"
    return Row(measure=measure, figure=figure, target=">= 20 x", met=ratio >= 20)


def streams_row(pid: int) -> Row:
    """Streams side by side; the process's highest memory since it started."""
    say(f"{STREAMS} streams at once ...")
    plan = ask_gateway(tokens=STREAM_TOKENS, interval_ms=STREAM_PACE_MS, stream=True)
    held = base.load(**plan, streams=STREAMS)
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    memory = int(peak.group(1)) * 1024 / 1e6 if peak else 0.0
    figure = f"{held['requests']:,} held, {held['failures']} failed, at most {memory:.0f} MB resident"
    return Row(
        measure="streams held at once by one process",
        figure=figure,
        target=">= 2,000, < 400 MB",
        met=held["requests"] >= 2000 and not held["failures"] and 0 < memory < 400,
    )


def gateways(folder: Path, run: Callable[..., int]) -> dict[str, int]:
    """World, upstreams, and both gateways; their pids."""
    (folder / "world.json").write_text(json.dumps(answers()))
    mock, python = [sys.executable, str(HERE / "gateway_mock.py")], sys.executable
    other, proxy = base.OTHER_CORE, base.PROXY_CORE
    world = [*mock, "world", str(base.WORLD), str(folder / "world.json")]
    run(base.process(world, core=other, port=base.WORLD, log=folder / "world.log"))
    run(base.process([*mock, "triton", str(base.MOCK)], core=other, port=base.MOCK, log=folder / "mock.log"))
    run(base.process([*mock, "openai", str(UPSTREAM)], core=other, port=UPSTREAM, log=folder / "openai.log"))
    environment = base.gateway_environment(folder)
    own = {"PORT": OFF, "METRICS_PORT": OFF_METRICS, "INTERNAL_PORT": OFF_INTERNAL, "INSTANCE": "off"}
    without = {**environment, **{f"PADDOCK_GATEWAY_{name}": str(value) for name, value in own.items()}}
    on = [python, "-m", "paddock_gateway.main"]
    off = [python, str(HERE / "metering_off.py")]
    pids = {
        "on": run(base.process(on, core=proxy, port=base.GATEWAY, log=folder / "on.log", env=environment)),
        "off": run(base.process(off, core=proxy, port=OFF, log=folder / "off.log", env=without)),
    }
    for port in (base.GATEWAY, OFF):
        until_ready(f"http://127.0.0.1:{port}/readyz")
    return pids


def start_litellm(folder: Path, run: Callable[..., int]) -> int:
    """One worker, from an environment of its own. Raises if it cannot be installed."""
    say("LiteLLM (its first time takes a minute to install) ...")
    program = tool("litellm", f"litellm[proxy]=={LITELLM_VERSION}", "uvloop", "httptools") / "litellm"
    config = litellm_config(folder, upstream=UPSTREAM)
    command = [str(program), "--config", str(config), "--host", "127.0.0.1", "--port", str(LITELLM)]
    log = folder / "litellm.log"
    command += ["--num_workers", "1"]
    pid = run(base.process(command, core=base.PROXY_CORE, port=LITELLM, log=log, env=LITELLM_ENVIRONMENT))
    until_ready(f"http://127.0.0.1:{LITELLM}/health/liveliness")
    return pid


def measured(folder: Path, seconds: float) -> tuple[list[Row], str, dict[str, dict[str, float]]]:
    """Rows that need gateways, and where a request's time goes."""
    with ExitStack() as stack:
        pids = gateways(folder, stack.enter_context)
        plans = {"on": ask_gateway(), "off": ask_gateway(port=OFF)}
        problem = ""
        try:
            pids["litellm"] = start_litellm(folder, stack.enter_context)
            plans["litellm"] = ask_litellm()
        except (subprocess.SubprocessError, OSError, SystemExit) as error:
            problem = str(error)[-300:]
        figures = turns(plans, pids, seconds)
        rows = [cost_row(figures), peer_row(figures, problem), streams_row(pids["on"])]
        profile = where_time_goes(
            pid=pids["on"],
            folder=folder,
            core=base.OTHER_CORE,
            load=lambda: base.load(**ask_gateway(), connections=CONNECTIONS, seconds=8.0),
            cpu_us=figures["on"]["cpu_us"],
        )
    return rows, profile, figures


def main() -> None:
    """Print the tables."""
    os.environ["PYTHONUNBUFFERED"] = "1"
    seconds = float(os.environ.get("BENCH_SECONDS", "3"))
    folder = Path(tempfile.mkdtemp(prefix="bench-metering-", dir=HERE.parent / ".paddock"))
    load = os.getloadavg()[0]
    try:
        rows, profile, figures = measured(folder, seconds)
        rows = [ledger_row(), journal_row(folder), *rows, quota_row()]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("| measure | figure | target | |\n|---|---|---|---|")
    print("\n".join(row.line() for row in rows))
    told = "; ".join(f"{name} {found['p99_ms']:.0f} ms" for name, found in figures.items())
    print(f"\n{CONNECTIONS} connections, {base.TOKENS} tokens an answer, medians of {ROUNDS} rounds of {seconds:g} s; ")
    print(f"p99 with all of them busy: {told}. LiteLLM runs without virtual keys, because its database engine")
    print(f"cannot be fetched here, which flatters it. Load average of the machine before: {load:.1f}.\n")
    print(profile)


if __name__ == "__main__":
    main()
