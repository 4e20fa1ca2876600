"""A stack: the whole product on one machine, by name. `up`, `down` and `status` are its public interface."""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from paddock_local import (
    certificates,
    cluster,
    database,
    gpu_nodes,
    kubeconfig,
    kubectl,
    kubernetes,
    leftovers,
    preflight,
    programs,
    programs_paddock,
    ready,
    secret_files,
    simulation,
)
from paddock_local.cri.files import read_json, write_json
from paddock_local.errors import LocalError, StackError
from paddock_local.kubernetes import Built
from paddock_local.parts import BY_NAME, KUBERNETES, NODES, PADDOCK, PARTS, POSTGRES, STOP_ORDER, Part, select
from paddock_local.paths import StackPaths, find_checkout
from paddock_local.ports import Ports, ports_for
from paddock_local.programs import Context
from paddock_local.progress import Progress
from paddock_local.settings import LocalSettings
from paddock_local.supervisor import Supervisor, environment

DEFAULT_STACK = "demo"
# Tenants of the story; each has a kubeconfig, their rights come from RBAC in the charts or the demo.
TENANT_USERS = {"acme": ("paddock:acme",), "globex": ("paddock:globex",)}
LOG_TAIL = 15
SHUTDOWN_PATIENCE_S = 60.0


@dataclass(frozen=True)
class PartStatus:
    """One line of `paddock local status`. `ready` is None for a part that does not run."""

    part: str
    state: str
    pid: int
    uptime_s: int
    ports: dict[str, int]
    ready: bool | None
    log: str


class Stack:
    """The stack called `name`."""

    def __init__(self, name: str = DEFAULT_STACK, *, settings: LocalSettings | None = None) -> None:
        self.paths = StackPaths(checkout=find_checkout(), name=name)
        self.settings = settings or LocalSettings()
        self._shapes: list[gpu_nodes.GpuNodes] = []
        # A running stack keeps its ports whatever the shell says now.
        base = self._state.get("port_base") if Supervisor(self.paths).running() else None
        self.ports: Ports = ports_for(stack=name, base=base or self.settings.port_base)
        self.supervisor = Supervisor(self.paths)

    @property
    def _state_file(self) -> Path:
        return self.paths.root / "stack.json"

    @property
    def _state(self) -> dict[str, Any]:
        """What the stack was started with the last time."""
        return read_json(self._state_file) or {}

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One `up` or `down` at a time."""
        self.paths.stacks.mkdir(parents=True, exist_ok=True)
        with (self.paths.stacks / f"{self.paths.name}.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                message = f"the stack {self.paths.name!r} is being started or stopped by another command: wait for it"
                raise LocalError(message) from None
            yield

    @cached_property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return Path(self._state.get("kubeconfig") or self.paths.kubeconfig(kubeconfig.ADMIN))

    @cached_property
    def kubectl(self) -> Path:
        """A kubectl that fits."""
        version = kubernetes.kubernetes_version(self.paths.checkout / "local" / "kubernetes")
        return kubectl.find(self.paths, minor=int(version.split(".")[1]))

    def kubeconfig_for(self, *, user: str, groups: tuple[str, ...] = ()) -> Path:
        """A kubeconfig for a new user of the stack's Kubernetes; returns its path."""
        return kubeconfig.kubeconfig_for(paths=self.paths, ports=self.ports, user=user, groups=groups)

    def kubeconfig_of(self, user: str) -> Path:
        """The kubeconfig of a user that exists; with --context everybody is the person who started the stack."""
        own = self.paths.kubeconfig(user)
        return self.kubeconfig if self.kubeconfig.name == "context.yaml" or user == kubeconfig.ADMIN else own

    def url(self, listener: str) -> str:
        """Address of a listener that speaks plain HTTP."""
        return f"http://{programs.HOST}:{self.ports[listener]}"

    def shell_environment(self) -> dict[str, str]:
        """What makes `paddock` and `kubectl` speak to this stack."""
        return {
            "PADDOCK_URL": self.url("controlplane"),
            "PADDOCK_TOKEN_FILE": str(self.paths.secret("admin-token")),
            "KUBECONFIG": str(self.kubeconfig),
            "PATH": f"{self.paths.venv_bin}:{os.environ.get('PATH', os.defpath)}",
        }

    # Starting

    def up(
        self,
        *,
        progress: Progress,
        only: list[str] | None = None,
        context: str | None = None,
        nodes: list[str] | None = None,
    ) -> None:
        """Start what `only` names (groups or parts; all when empty) and return when it is ready. `nodes` are shapes
        of simulated GPU nodes, which take the place of those that the stack had; None keeps those.

        Raises LocalError with what to do when something is missing or does not start. What has
        started then stays, to be looked at.
        """  # fmt: skip
        if context is not None and nodes:
            raise LocalError(
                "simulated nodes belong to the Kubernetes of the stack: leave out --context or --gpu-nodes"
            )
        self._shapes = gpu_nodes.parse_all((self._state.get("nodes") or []) if nodes is None else nodes)
        theirs = (KUBERNETES, NODES) if context else ()
        wanted = [part for part in select(only or [], simulated=bool(self._shapes)) if part.group not in theirs]
        with self._locked():
            if not self.supervisor.running():
                leftovers.end_all(self.paths)
            self._preflight(wanted)
            made = self._prepare(wanted, progress, context)
            changed = [part for part in wanted if programs.write(made, part.name, part.spec(made))]
            kept = {part.name: part.stop_s for part in PARTS if self.paths.spec(part.name).is_file()}
            self.supervisor.start(kept, environment() | {programs.STACK_VARIABLE: str(self.paths.root)})
            for part in sorted(changed, key=lambda part: STOP_ORDER.index(part.name)):
                self.supervisor.stop_part(part.name)
            if context is not None:
                self._apply(made, progress)
            for part in wanted:
                self._start(part, made, progress)

    def _preflight(self, wanted: list[Part]) -> None:
        """What the parts that do not run yet need from the machine."""
        running = self.supervisor.processes()
        new = [part for part in wanted if running.get(part.name, {}).get("pid", 0) == 0]
        groups = {part.group for part in new}
        # The node lives in a user namespace, and so does PostgreSQL when root starts it.
        namespaces = KUBERNETES in groups or (POSTGRES in groups and os.geteuid() == 0)
        listeners = [listener for part in new for listener in part.listeners]
        preflight.check(self.paths, self.ports, listeners=listeners, with_namespaces=namespaces)
        if PADDOCK in groups:
            preflight.check_interpreter()

    def _prepare(self, wanted: list[Part], progress: Progress, context: str | None) -> Context:
        groups = {part.group for part in wanted}
        self.paths.create()
        built = None
        if KUBERNETES in groups:
            built = kubernetes.ensure(self.paths.checkout, given=self.settings.kubernetes_bin, progress=progress)
        secret_files.prepare(self.paths)
        if POSTGRES in groups:
            database.initialise(self.paths, progress)
        simulated = simulation.ensure(self.paths.checkout, progress=progress) if NODES in groups else None
        prepared = certificates.prepare(self.paths.folder("pki"))
        made = self._context(built, prepared, self._kubeconfigs(context), simulated)
        state = {
            "port_base": self.ports.base, "context": context, "kubeconfig": made.kubeconfigs["admin"],
            "nodes": [str(shape) for shape in self._shapes],
        }  # fmt: skip
        write_json(self._state_file, state)
        return made

    def _context(
        self, built: Built | None, made: certificates.Certificates, configs: dict[str, str], simulated: Path | None
    ) -> Context:
        return Context(
            paths=self.paths, ports=self.ports, kubernetes=built.programs if built else None, certificates=made,
            postgres_bin=database.find_bin(), cri_messages=built.cri_messages if built else None, kubeconfigs=configs,
            simulation=simulated,
        )  # fmt: skip

    def _kubeconfigs(self, context: str | None) -> dict[str, str]:
        if context is not None:
            theirs = self._given_kubeconfig(context)
            return dict.fromkeys(("admin", "operator", "gateway"), str(theirs))
        for user, groups in (kubeconfig.USERS | TENANT_USERS).items():
            self.kubeconfig_for(user=user, groups=groups)
        users = {"admin": kubeconfig.ADMIN, "operator": kubeconfig.OPERATOR, "gateway": kubeconfig.GATEWAY}
        return {role: str(self.paths.kubeconfig(user)) for role, user in users.items()}

    def _given_kubeconfig(self, context: str) -> Path:
        """The person's own context, copied whole, so that a later change of theirs does not move a running stack."""
        source = os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
        query = ("config", "view", "--raw", "--minify", "--flatten", f"--context={context}")
        target = self.paths.kubeconfig("context")
        certificates.write_private(target, kubectl.run(self.kubectl, source.split(":")[0], *query).encode())
        return target

    def _start(self, part: Part, made: Context, progress: Progress) -> None:
        with progress.step(part.name):
            if part.name == "controlplane":
                self._migrate(made)
            self.supervisor.start_part(part.name)
            self._await(part, made)
        if part.name == "kube-apiserver":
            self._apply(made, progress)
        if part.name == "kwok":
            with progress.step(f"making {sum(shape.nodes for shape in self._shapes)} simulated nodes"):
                gpu_nodes.apply(self._shapes, program=self.kubectl, kubeconfig=made.kubeconfigs["admin"])

    def _await(self, part: Part, made: Context) -> None:
        deadline = time.monotonic() + part.patience_s
        while True:
            state = self.supervisor.processes().get(part.name, {}).get("statename")
            # supervisord calls a program running only after a second; its own word is better, where it has one.
            up = state == "RUNNING" or (state == "STARTING" and part.ready is not ready.always)
            if up and part.ready(made):
                return
            if state == "FATAL" or time.monotonic() > deadline:
                raise StackError(f"{part.name} did not become ready: {self._last_words(part.name)}")
            time.sleep(0.1)

    def _last_words(self, part: str) -> str:
        log = self.paths.log(part)
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_TAIL:] if log.is_file() else []
        return "\n".join([f"the end of {log}:", *lines])

    def _migrate(self, made: Context) -> None:
        env = programs.base_environment(self.paths) | programs_paddock.controlplane_environment(made)
        done = ready.migrate(made, env)
        if done.returncode != 0:
            raise StackError(f"the database could not be migrated: {done.stderr.strip()[-1500:]}")

    def _apply(self, made: Context, progress: Progress) -> None:
        authority = made.certificates.authority.bundle
        items = cluster.documents(self.paths, webhook_port=self.ports["operator_webhook"], authority=authority)
        if made.simulation is not None:
            port = self.ports["lws_webhook"]
            items += simulation.documents(made.simulation, webhook_port=port, authority=authority)
        with progress.step(f"applying {len(items)} manifests"):
            cluster.apply(program=self.kubectl, kubeconfig=made.kubeconfigs["admin"], items=items)

    # Stopping

    def down(self, *, progress: Progress, erase: bool = False) -> None:
        """Stop everything in the right order and return when no process is left. `erase` removes the folder too.

        Raises StackError naming what would not end.
        """
        with self._locked():
            if self.supervisor.running():
                with progress.step(f"stopping the stack {self.paths.name}"):
                    self._stop_parts()
                    self.supervisor.shutdown(SHUTDOWN_PATIENCE_S)
            leftovers.end_all(self.paths)
            if self.paths.sockets.parent != self.paths.root:
                shutil.rmtree(self.paths.sockets, ignore_errors=True)
            if erase:
                shutil.rmtree(self.paths.root, ignore_errors=True)

    def _stop_parts(self) -> None:
        known = self.supervisor.processes()
        for name in STOP_ORDER:
            if name == "CONTAINERS":
                leftovers.end_containers(self.paths)
            elif name in known:
                self.supervisor.stop_part(name)

    # Looking

    def status(self) -> list[PartStatus]:
        """Every part that was ever started in this stack; empty when the stack is down."""
        known = self.supervisor.processes()
        if not known:
            return []
        made = self._context(None, certificates.prepare(self.paths.folder("pki")), {}, None)
        return [self._status(BY_NAME[name], known[name], made) for name in BY_NAME if name in known]

    def _status(self, part: Part, info: dict[str, object], made: Context) -> PartStatus:
        runs = info["statename"] in ("RUNNING", "STARTING")
        return PartStatus(
            part=part.name, state=str(info["statename"]).lower(), pid=int(str(info["pid"])),
            uptime_s=int(str(info["now"])) - int(str(info["start"])) if runs else 0,
            ports={listener: self.ports[listener] for listener in part.listeners},
            ready=part.ready(made) if runs else None, log=str(self.paths.log(part.name)),
        )  # fmt: skip


def names() -> list[str]:
    """The stacks that this checkout has a folder for."""
    stacks = find_checkout() / ".paddock" / "stacks"
    return sorted(entry.name for entry in stacks.iterdir() if entry.is_dir()) if stacks.is_dir() else []
