"""`python -m bench`: every measurement, one after the other, each a process of its own."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
BENCHES = ("gateway.py", "operator_rendering.py", "story.py")


def main() -> int:
    """Run them all; the exit code says whether all ran."""
    failed = 0
    for name in BENCHES:
        print(f"\n## {name.removesuffix('.py').replace('_', ' ')}\n", flush=True)
        failed |= subprocess.run([sys.executable, str(HERE / name)], check=False, cwd=HERE.parent).returncode
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
