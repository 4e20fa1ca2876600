"""`python -m e2e.mutations [POINT ...]`: takes each point of enforcement out, and shows that its test fails.

It changes files of the checkout that it runs in and puts them back: use a clone in which nobody works, with an
environment of its own. It prints the table of docs/enforcement.md, and exits 1 if a point could go unnoticed.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

HERE = Path(__file__).parent
ROOT = HERE.parent
SECONDS = 600


@dataclass(frozen=True)
class Mutation:
    """One point, and how it is taken out."""

    point: str
    file: str
    find: str
    replace: str
    tests: list[str]

    def failing(self) -> list[str]:
        """The tests that fail without the point. Raises SystemExit where the file is not as this mutation knows it."""
        path = ROOT / self.file
        whole = path.read_text()
        if whole.count(self.find) != 1:
            raise SystemExit(f"{self.file} holds {whole.count(self.find)} times what mutation {self.point!r} looks for")
        path.write_text(whole.replace(self.find, self.replace))
        try:
            command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *self.tests]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=SECONDS)
        finally:
            path.write_text(whole)
        lines = [line for line in done.stdout.splitlines() if line.startswith(("FAILED ", "ERROR "))]
        return sorted({line.split(" - ")[0].split("::")[-1].split("[")[0] for line in lines})


def main(points: list[str]) -> int:
    """All of them, or those that are named."""
    mutations = [Mutation(**item) for item in yaml.safe_load((HERE / "mutations.yaml").read_text())]
    survived = 0
    print("| point that is taken out | tests that fail then |\n|---|---|", flush=True)
    for mutation in mutations:
        if points and mutation.point not in points:
            continue
        failing = mutation.failing()
        survived += not failing
        print(f"| {mutation.point} | {', '.join(f'`{name}`' for name in failing) or '**none**'} |", flush=True)
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
