"""A whole simulated world: cluster, control plane, operators, and the hands of people in it."""

import asyncio
import contextlib
import itertools
import json
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from paddock_core.resources import names
from paddock_operator.kinds import (
    ALL,
    LEADER_WORKER_SET,
    LLAMA_DEPLOYMENT,
    NAMESPACE,
    NODE,
    OPTIONAL,
    POD,
    REPLICA_SET,
    SECRET,
    Kind,
)
from paddock_operator.ports import Manifest

from faults.cluster.simulated.api import Api, Client
from faults.cluster.simulated.controllers import Controllers, held_gpus, status_condition
from faults.cluster.simulated.controlplane import ControlPlane
from faults.cluster.simulated.life import Life, settings_in
from faults.cluster.simulated.server import Server
from faults.cluster.simulated.store import Place, Store
from faults.cluster.simulated.validating import faults
from faults.cluster.simulated.virtual_time import VirtualClock, run
from faults.cluster.stage import tests_helper

T = TypeVar("T")
TENANT = "acme"
GPU_MODEL = "llama-3.2-1b-instruct"
PRODUCT = "NVIDIA-H100-80GB-HBM3"
SERVING = names.serving_namespace(TENANT)
WALL_SECONDS = 900.0
"""So long may be waited for one thing in time that really passes: an operator that hardly rests, as one without a
back-off, has so much to do in each virtual second that its end would never be seen."""
INSTALLED = frozenset(ALL) - frozenset(OPTIONAL) | {LEADER_WORKER_SET}


class World:
    """Made by `world_of`, inside its event loop."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.clock = VirtualClock()
        uids = itertools.count(1)
        self.store = Store(clock=self.clock, uids=lambda: f"00000000-0000-0000-0000-{next(uids):012x}")
        self.server = Server(self.store, kinds=INSTALLED)
        self.api = Api(self.server, clock=self.clock)
        self.controllers = Controllers(self.store, clock=self.clock)
        helper = tests_helper("policy_server")
        self.control_plane = ControlPlane(clock=self.clock, kinds=helper.KINDS)
        self.control_plane.put(*helper.registered(), *helper.accepted("acme-inc"))
        for license_id in ("llama3.2",):
            self.control_plane.put(*helper.texts(license_id), *helper.accepted("acme-inc", license_id=license_id))
            self.control_plane.put(*helper.accepted("platform", role="operator", license_id=license_id))
        self.errors: list[str] = []
        """What the operator logged as an error: exceptions that nobody expected."""
        self.deletes: list[tuple[float, Place]] = []
        """What operators deleted, and when."""
        self.sound: frozenset[str] | None = None
        """Revisions whose engines generate; None: all do."""
        self._folder = folder
        self._settings = settings
        self._lives = itertools.count(1)
        self._people = Client("people")
        self.store.listeners.append(self._note)
        for namespace in (TENANT, "globex", names.PLATFORM_NAMESPACE, names.WEIGHTS_NAMESPACE):
            self.store.put(Place(NAMESPACE, "", namespace), {"metadata": {}})
        self.node("cpu", gpus=0)

    # What people do.

    def node(self, name: str, *, gpus: int, ready: bool = True) -> None:
        """A node, or the same one with other values."""
        labels = {"nvidia.com/gpu.product": PRODUCT, "nvidia.com/gpu.count": str(gpus)} if gpus else {}
        amounts = {"cpu": "64", "memory": "512Gi", **({"nvidia.com/gpu": str(gpus)} if gpus else {})}
        conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
        status = {"allocatable": amounts, "capacity": amounts, "conditions": conditions}
        self.store.put(Place(NODE, "", name), {"metadata": {"labels": labels}, "spec": {}, "status": status})

    def deploy(self, name: str, *, namespace: str = TENANT, **spec: Any) -> None:
        """Create a LlamaDeployment, of the demonstration model if `spec` names none, or change what `spec` says; None
        takes a field out. Raises ValueError for what the API server would not take."""
        place = self.place(name, namespace)
        old = self.store.get(place) or {"metadata": {}, "spec": {"model": {"id": "smollm2-135m-instruct"}}}
        changed = {**old["spec"], **spec}
        wanted = {**old, "spec": {name: value for name, value in changed.items() if value is not None}}
        if wrong := faults(wanted, place.kind):
            raise ValueError(f"{name}: {'; '.join(wrong)}")
        self.store.put(place, wanted, by="people")

    def remove(self, name: str, *, namespace: str = TENANT) -> None:
        """Delete a LlamaDeployment."""
        self.store.delete(self.place(name, namespace), by="people")

    @contextlib.asynccontextmanager
    async def operator(self, identity: str = "", **settings: Any) -> AsyncIterator[Life]:
        """An operator until the block ends; one that was killed or stopped meanwhile stays so."""
        life = self.begin(identity, **settings)
        try:
            yield life
        finally:
            if life.ended:
                await life.over()
            else:
                await life.kill()

    def begin(self, identity: str = "", *, skew: float = 0.0, **settings: Any) -> Life:
        """Start an operator's process; its cache folder is new, and its wall clock wrong by `skew` seconds."""
        number = next(self._lives)
        folder = self._folder / f"life-{number}"
        folder.mkdir()
        made = settings_in(folder, **{"identity": identity or f"life-{number}", **self._settings, **settings})
        return Life(
            identity=made.identity,
            api=self.api,
            control_plane=self.control_plane,
            clock=VirtualClock(skew=skew) if skew else self.clock,
            settings=made,
            alive=self.generates,
            chance=random.Random(f"{self._folder.name}/{made.identity}"),
        )

    # What can be seen.

    def place(self, name: str, namespace: str = TENANT) -> Place:
        return Place(LLAMA_DEPLOYMENT, namespace, name)

    def status(self, name: str, *, namespace: str = TENANT) -> Manifest:
        """Its status, empty where there is none."""
        found = self.store.get(self.place(name, namespace)) or {}
        status: Manifest = found.get("status") or {}
        return status

    def condition(self, name: str, kind: str, *, namespace: str = TENANT) -> Manifest:
        """One of its conditions, empty where it has none."""
        found = self.status(name, namespace=namespace).get("conditions") or ()
        return next((item for item in found if item["type"] == kind), {})

    def endpoints(self, name: str, *, namespace: str = TENANT) -> list[str]:
        """URLs to which gateways are told to send."""
        routing = self.status(name, namespace=namespace).get("routing") or {}
        targets = routing.get("targets", [routing])
        return [str(endpoint.get("url")) for target in targets for endpoint in target.get("endpoints") or ()]

    def serves(self, name: str, *, namespace: str = TENANT, copies: int = 1) -> bool:
        """Whether its last change is served by so many copies, and gateways are told of all of them."""
        found = self.store.get(self.place(name, namespace))
        if (
            found is None
            or self.status(name, namespace=namespace).get("observedGeneration") != found["metadata"]["generation"]
        ):
            return False
        serving = self.condition(name, "Serving", namespace=namespace).get("status") == "True"
        return serving and len(self.endpoints(name, namespace=namespace)) == copies and len(self.copies(name)) == copies

    def children(self, name: str, *, namespace: str = TENANT) -> dict[Kind, list[Manifest]]:
        """All objects that belong to a deployment, by kind."""
        labels = {names.DEPLOYMENT_NAMESPACE: namespace, names.DEPLOYMENT_NAME: name}.items()
        found: dict[Kind, list[Manifest]] = {}
        for place in self.store.places():
            manifest = self.store.get(place)
            if manifest is not None and labels <= (manifest["metadata"].get("labels") or {}).items():
                found.setdefault(place.kind, []).append(manifest)
        return found

    def copies(self, name: str) -> list[Manifest]:
        """Its workloads' pods that answer: one for each copy."""
        pods = self.children(name).get(POD, [])
        alive = [pod for pod in pods if pod["status"].get("phase") != "Failed"]
        return [pod for pod in alive if pod["metadata"]["labels"].get(names.WORKER_INDEX, "0") == names.LEADER_INDEX]

    def workloads(self, name: str) -> list[Manifest]:
        """Its ReplicaSets and groups."""
        found = self.children(name)
        return [*found.get(REPLICA_SET, []), *found.get(LEADER_WORKER_SET, [])]

    def held_gpus(self) -> int:
        """GPUs that pods hold."""
        return held_gpus(self.store)

    def shape(self, name: str, *, namespace: str = TENANT) -> list[str]:
        """What there is of it, without what differs from one run to the next: to compare the ends of two runs."""
        found = []
        for kind, items in self.children(name, namespace=namespace).items():
            if kind in (POD, SECRET):
                found.append(f"{kind.name} x{len(items)}")
                continue
            for item in items:
                metadata = item["metadata"]
                labels = {key: value for key, value in metadata["labels"].items() if key != names.DEPLOYMENT_UID}
                found.append(json.dumps([kind.name, metadata["name"], labels], sort_keys=True))
        return sorted(found)

    def generates(self, host: str) -> bool:
        """Whether a pod at this address answers."""
        found = (pod for pod in self.store.all(POD) if pod["status"].get("podIP") == host)
        return any(status_condition(pod, "Ready") == "True" and self._is_sound(pod) for pod in found)

    def _is_sound(self, pod: Manifest) -> bool:
        return self.sound is None or pod["metadata"]["labels"].get(names.REVISION) in self.sound

    # Time.

    async def until(self, fact: Callable[[], T], what: str, *, seconds: float = 900.0) -> float:
        """Wait for a fact; after how many virtual seconds it came. Raises AssertionError."""
        began, really = self.clock.boottime(), time.monotonic()
        while not fact():
            waited = self.clock.boottime() - began
            if waited > seconds:
                raise AssertionError(f"waited {seconds:.0f} virtual seconds for {what}")
            if time.monotonic() - really > WALL_SECONDS:
                raise AssertionError(f"{what}: after {WALL_SECONDS:.0f} s only {waited:.0f} virtual seconds are over")
            await asyncio.sleep(0.25)
        return self.clock.boottime() - began

    async def still(self, fact: Callable[[], T], what: str, *, seconds: float) -> None:
        """A fact holds for as long. Raises AssertionError."""
        began = self.clock.boottime()
        while self.clock.boottime() - began < seconds:
            assert fact(), f"after {self.clock.boottime() - began:.1f} s it is no longer so: {what}"
            await asyncio.sleep(0.5)

    def _note(self, change: Any) -> None:
        ended = change.type == "DELETED" or (
            "deletionTimestamp" in change.object["metadata"] and "deletionTimestamp" not in change.old["metadata"]
        )
        if ended and change.by not in ("kubernetes", "people"):
            self.deletes.append((self.clock.boottime(), change.place))


class _Errors(logging.Handler):
    def __init__(self, heard: Callable[[str], None]) -> None:
        super().__init__(level=logging.ERROR)
        self._heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text += f": {record.exc_info[1]!r}"
        self._heard(text)


@contextlib.contextmanager
def _listening(heard: Callable[[str], None]) -> Iterator[None]:
    """Errors of the operator are heard, and its log goes nowhere else."""
    logger, handler = logging.getLogger("paddock_operator"), _Errors(heard)
    before = logger.propagate, logger.level
    logger.propagate, logger.level = False, logging.ERROR
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate, logger.level = before


def world_of(folder: Path, scenario: Callable[[World], Awaitable[T]], **settings: Any) -> T:
    """Play a scenario in a new world, under virtual time. `settings` are the operators'."""

    async def play() -> T:
        world = World(folder, **settings)
        with _listening(world.errors.append):
            controllers = asyncio.create_task(world.controllers.run())
            try:
                return await scenario(world)
            finally:
                controllers.cancel()
                await asyncio.gather(controllers, return_exceptions=True)

    return run(play())
