"""How long `paddock audit verify` takes over a million entries: the real command, over HTTP, a real PostgreSQL.

The log is written once with the product's own entries, as COPY takes them; then the command reads it in pages from a
control plane that is a process of its own, and checks every digest, every link and an exported head. It is run twice
more on a log in which one row was changed, and one removed: both are found, at their place.

Usage: python bench/audit.py [--entries 1000000]
"""

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
from ledger import PORT, SECRETS, cpu_seconds, postgres, postgres_pids
from paddock_controlplane.migrate import migrate
from paddock_core.audit.chain import FIRST, Entry, canonical, head_of

HTTP_PORT = 7692
TARGET_SECONDS = 60.0
CHUNK = 20_000
COLUMNS = ("seq", "at", "actor", "action", "subject", "tenant", "entity", "detail", "commitments", "prev", "digest")
START = datetime(2026, 11, 1, tzinfo=UTC)


def entry(seq: int, prev: str) -> Entry:
    """An entry of ordinary size: most logs are keys, offers and acceptances."""
    detail = {"license": "paddock-demo", "role": "deployer", "offer": f"off-{seq:012}", "state": "active"}
    return Entry(
        seq=seq,
        at=(START + timedelta(seconds=seq)).isoformat(timespec="microseconds"),
        actor=f"signatory:{seq:012}",
        action="license.accept",
        subject=f"acc-{seq:012}",
        tenant=None,
        entity=f"entity-{seq % 1000}",
        detail=canonical(detail),
        commitments=canonical([f"{seq:064x}"]),
        prev=prev,
    ).sealed()


async def fill(connection: Any, entries: int) -> str:
    """Write the log; the digest of its last entry."""
    prev = FIRST
    for begin in range(1, entries + 1, CHUNK):
        rows = []
        for seq in range(begin, min(begin + CHUNK, entries + 1)):
            made = entry(seq, prev)
            prev = made.digest
            rows.append(tuple(datetime.fromisoformat(made.at) if n == "at" else getattr(made, n) for n in COLUMNS))
        await connection.copy_records_to_table("audit_log", records=rows, columns=COLUMNS)
    await connection.execute("UPDATE head SET audit_seq = $1, audit_digest = $2", entries, prev)
    await connection.execute("ANALYZE audit_log")
    return prev


@contextmanager
def control_plane(dsn: str, folder: Path) -> Iterator[int]:
    """A control plane on this database; its process id."""
    environment = {"PATH": os.environ["PATH"], "PADDOCK_CONTROLPLANE_DATABASE_URL": dsn}
    for name in SECRETS:
        (folder / name).write_text(f"{name}-of-the-benchmark")
        environment[f"PADDOCK_CONTROLPLANE_{name.upper()}_FILE"] = str(folder / name)
    environment["PADDOCK_CONTROLPLANE_PORT"] = str(HTTP_PORT)
    command = [str(Path(sys.executable).with_name("paddock-controlplane")), "serve"]
    with (folder / "controlplane.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while not answers():
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit((folder / "controlplane.log").read_text())
            time.sleep(0.1)
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)


def answers() -> bool:
    """True once the control plane is ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{HTTP_PORT}/readyz", timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def verify(folder: Path) -> tuple[dict[str, Any], float]:
    """What the command says, and its seconds, its own start included."""
    options = ["--head", str(folder / "heads"), "--key-file", str(folder / "audit_key"), "-o", "json"]
    command = [str(Path(sys.executable).with_name("paddock")), "audit", "verify", *options]
    environment = {"PATH": os.environ["PATH"], "PADDOCK_URL": f"http://127.0.0.1:{HTTP_PORT}"}
    environment["PADDOCK_TOKEN_FILE"] = str(folder / "admin_token")
    begin = time.perf_counter()
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    seconds = time.perf_counter() - begin
    if not done.stdout:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout), seconds


async def measure(dsn: str, folder: Path, entries: int) -> None:
    """Fill, verify, spoil, verify."""
    await migrate(dsn)
    connection = await asyncpg.connect(host=str(folder), port=PORT, user="postgres", database="postgres")
    digest = await fill(connection, entries)
    load = os.getloadavg()[0]
    with control_plane(dsn, folder) as pid:
        head = head_of(key=b"audit_key-of-the-benchmark", seq=entries, digest=digest)
        found = {"seq": head.seq, "digest": head.digest, "signature": head.signature}
        (folder / "heads").write_text(json.dumps(found) + "\n")
        before, held = cpu_seconds(pid, *postgres_pids(folder)), os.times()
        result, seconds = verify(folder)
        serving = cpu_seconds(pid, *postgres_pids(folder)) - before
        own = os.times().children_user - held.children_user + os.times().children_system - held.children_system
        assert result["holds"], result
        middle = entries // 2
        await connection.execute("UPDATE audit_log SET actor = 'forged' WHERE seq = $1", middle)
        changed, _ = verify(folder)
        await connection.execute("DELETE FROM audit_log WHERE seq = $1", middle - 1)
        removed, _ = verify(folder)
    await connection.close()
    assert (changed["holds"], changed["at"]) == (False, middle), changed
    assert (removed["holds"], removed["at"]) == (False, middle - 1), removed
    print("| entries | seconds | entries/s | CPU of the command | CPU of control plane and PostgreSQL | target |")
    print("|---|---|---|---|---|---|")
    print(
        f"| {result['entries']:,} | {seconds:.1f} | {entries / seconds:,.0f} | {own:.1f} s | {serving:.1f} s"
        f" | {TARGET_SECONDS:.0f} s |"
    )
    print(f"\nLoad average of the machine before: {load:.1f}.", end="")
    print(f" A changed entry was found at {changed['at']:,}, a removed one at {removed['at']:,}: both where they were.")


async def main(entries: int) -> None:
    """Run and print."""
    folder = Path(tempfile.mkdtemp(prefix="pgb-"))
    try:
        with postgres(folder) as dsn:
            await measure(dsn, folder, entries)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000)
    asyncio.run(main(parser.parse_args().entries))
