"""`python -m bench`: every measurement, each a process of its own; docs/performance.md gets what they print.

Usage: python -m bench [NAME ...]
"""

import os
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "performance.md"
BENCHES = ("gateway", "licensing", "scale", "story", "quotas", "users", "ledger", "metering", "audit")


def main(names: list[str]) -> int:
    """Run them; the exit code says whether all ran and met their targets. A bench that broke off leaves the page's old
    figures standing; one that ran and missed a target says so in its last line, and in the page."""
    failed = 0
    for name in names or list(BENCHES):
        print(f"\n## {name.replace('_', ' ')}\n", flush=True)
        command = [sys.executable, str(HERE / f"{name}.py")]
        done = subprocess.run(command, check=False, cwd=HERE.parent, stdout=subprocess.PIPE, text=True)
        print(done.stdout, flush=True)
        if done.returncode == 0 or ran_and_missed(done.stdout):
            PAGE.write_text(with_section(PAGE.read_text(), name=name, printed=done.stdout))
        failed |= done.returncode
    return 1 if failed else 0


def ran_and_missed(printed: str) -> bool:
    """Whether a bench came to its end and missed a target."""
    return printed.rstrip().rpartition("\n")[2].startswith("Missed: ")


def with_section(page: str, *, name: str, printed: str) -> str:
    """The page with what a bench printed between its two markers. Raises ValueError if they are not there."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    if begin not in page or end not in page:
        raise ValueError(f"{PAGE.name} has no section {begin} ... {end}")
    day = datetime.now(UTC).date().isoformat()
    text = printed.strip() if printed.lstrip().startswith("|") else f"```\n{printed.strip()}\n```"
    section = f"{begin}\n{text}\n\nMeasured on {day}: {machine()}.\n{end}"
    return re.sub(f"{re.escape(begin)}.*{re.escape(end)}", lambda _: section, page, flags=re.DOTALL)


def machine() -> str:
    """What ran it, in words."""
    return f"{os.cpu_count()} cores ({processor()}), Linux {platform.release()}, Python {platform.python_version()}"


def processor() -> str:
    """Its name, as the kernel tells it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
