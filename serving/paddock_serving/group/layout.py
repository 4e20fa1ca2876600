"""Who is in a group, and the command that starts it: pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from paddock_serving.errors import EnvironmentNotReadyError

LAUNCHER: Final = "trtllm-llmapi-launch"
"""TensorRT-LLM's wrapper of each rank: rank 0 runs the command behind it, the others wait for work."""
MPIRUN: Final = "mpirun"
KILL_SECONDS: Final = 20
"""What mpirun gives a rank that it ends, before it kills it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The pods of one copy. Every pod has the same number of GPUs, one rank for each."""

    leader: str
    """DNS name of the leader, as LeaderWorkerSet tells it: `<pod>.<subdomain>.<namespace>`."""
    size: int
    gpus_per_pod: int

    @property
    def ranks(self) -> int:
        return self.size * self.gpus_per_pod

    @property
    def hosts(self) -> tuple[str, ...]:
        """Every pod's DNS name, the leader's first: worker n of the pod `p` is `p-n`, in the same subdomain.

        Raises EnvironmentNotReadyError if the leader's name is not one of a LeaderWorkerSet.
        """
        pod, dot, rest = self.leader.partition(".")
        if not (pod and dot and rest):
            raise EnvironmentNotReadyError(
                f"LWS_LEADER_ADDRESS is {self.leader!r}, which is no <pod>.<subdomain>.<namespace>: the pods of a "
                "group must belong to a LeaderWorkerSet"
            )
        return (self.leader, *(f"{pod}-{number}.{rest}" for number in range(1, self.size)))

    @property
    def workers(self) -> tuple[str, ...]:
        """Everybody but the leader."""
        return self.hosts[1:]


def mpirun_argv(*, group: Group, ssh_config: Path, command: Sequence[str]) -> list[str]:
    """The command line that starts a rank for each GPU: those of the leader's pod first, so that rank 0 is there.

    `command` is what rank 0 runs; TensorRT-LLM's wrapper splits it at blanks, so it must hold none.
    Raises EnvironmentNotReadyError if it does.
    """
    if any(len(word.split()) != 1 for word in command):
        raise EnvironmentNotReadyError(f"the command {command!r} of rank 0 has blanks in it: use folders without any")
    slots = ",".join(f"{host}:{group.gpus_per_pod}" for host in group.hosts)
    settings = {
        "plm_rsh_agent": "ssh",
        "plm_rsh_args": f"-F {ssh_config}",
        # Only the leader may log in elsewhere.
        "plm_rsh_no_tree_spawn": "1",
        "orte_keep_fqdn_hostnames": "1",
        "odls_base_sigkill_timeout": str(KILL_SECONDS),
    }
    words = [word for name, value in settings.items() for word in ("--mca", name, value)]
    ranks = ["-np", str(group.ranks), "--host", slots, "--map-by", "slot", "--bind-to", "none"]
    # By its name: a path would be taken for the prefix under which Open MPI lies on every host.
    # With its session attached a worker knows, by its sessions, whether ranks still run in it.
    return [MPIRUN, "--leave-session-attached", *words, *ranks, LAUNCHER, *command]
