"""How the operator grows: 10, 100 and 1,000 LlamaDeployments in 50 namespaces on a thousand simulated nodes.

Real etcd, API server, controller manager, scheduler and LeaderWorkerSet controller; kwok plays the nodes, this program
plays Triton on the pods' addresses, the policy's source and a gateway's signals. A few in a hundred deployments are
groups of two pods. Each size is applied, converges (all Serving and Routable), and goes again; then a bare client,
a process of its own with the operator's own HTTP client, writes the same objects to the same cluster, as fast as it
can, until the pods are ready. With the largest size the operator is also started anew, left alone, and stormed.
The largest size is held to the targets for 1,000: the exit status is 1, and the last line says so, if one is missed.

Usage: python bench/scale.py [--sizes 10,100,1000] [--nodes 1000] [--storm-seconds 60] [--keep FOLDER] [--profile FILE]
"""

import argparse
import asyncio
import signal
import sys
import tempfile
from pathlib import Path

import scale_run
import scale_table
from scale_world import SUBNET, running_cluster

GROUP_NODES = 80
"""Nodes of one GPU beside those of eight, for the groups: two each."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="10,100,1000", help="numbers of deployments, by comma")
    parser.add_argument("--nodes", type=int, default=1000, help="simulated nodes of eight GPUs")
    parser.add_argument("--storm-seconds", type=int, default=60, help="how long 10,000 child events a minute come")
    parser.add_argument("--keep", type=Path, help="a folder for data and logs, kept afterwards")
    parser.add_argument("--profile", type=Path, help="a file for the operator's profile (cProfile), which slows it")
    given = parser.parse_args()
    if given.keep is not None and given.keep.exists() and (not given.keep.is_dir() or any(given.keep.iterdir())):
        parser.error(f"--keep {given.keep}: not empty; name an empty folder, or one to be made")
    return given


async def main() -> int:
    """Run and print."""
    given = arguments()
    # Whoever is told to end still stops what it has started.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asyncio.current_task().cancel)  # type: ignore[union-attr]
    sizes = [int(size) for size in given.sizes.split(",")]
    with tempfile.TemporaryDirectory() as name:
        folder = given.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        shapes = [f"{given.nodes}xH100-80x8", f"{GROUP_NODES}xL40S-48x1"]
        with running_cluster(folder) as api:
            results, extra = await scale_run.run(
                api,
                folder,
                sizes=sizes,
                shapes=shapes,
                subnet=SUBNET,
                storm_seconds=given.storm_seconds,
                profile=given.profile,
            )
    print(scale_table.rendered(results, extra))
    missed = scale_table.missed(results, extra)
    if missed:
        print(f"\nMissed: {'; '.join(missed)}.")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
