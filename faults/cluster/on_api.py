"""The operator on the real API server of the stage, with the controllers that a fault needs beside it."""

import asyncio
import contextlib
import random
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
from paddock_local.bare_kubernetes import KubeApi, find_binary, start
from paddock_operator.adapters import cluster
from paddock_operator.adapters.clock import SystemClock, boot_id
from paddock_operator.assembly import wired
from paddock_operator.events import Judge
from paddock_operator.outside import Outside
from paddock_operator.process import Operator
from paddock_operator.settings import OperatorSettings

from faults.cluster.simulated.controlplane import ControlPlane
from faults.cluster.simulated.life import Bencher, Caches, Prober, Progress, settings_in, telemetry
from faults.cluster.stage import tests_helper

STOP_SECONDS = 20.0


def control_plane() -> ControlPlane:
    """The control plane's internal API, with acme licensed for the demonstration model."""
    helper = tests_helper("policy_server")
    made = ControlPlane(clock=SystemClock(), kinds=helper.KINDS)
    made.put(*helper.registered(), *helper.accepted("acme-inc"))
    return made


@contextlib.asynccontextmanager
async def operator_on(api: KubeApi, *, beside: ControlPlane, folder: Path, **settings: Any) -> AsyncIterator[Operator]:
    """An operator until the block ends; it gives leadership up then, as at SIGTERM."""
    made = settings_in(folder, kubeconfig=api.kubeconfigs["operator"], identity=folder.name, **settings)

    @contextlib.asynccontextmanager
    async def surroundings(own: OperatorSettings) -> AsyncIterator[Outside]:
        async with (
            cluster.connect(own.kubeconfig) as client,
            beside.client() as internal,
            aiohttp.ClientSession() as web,
        ):
            yield Outside(
                clock=SystemClock(),
                chance=random.Random(folder.name),
                boot_id=boot_id(),
                api=client,
                internal=internal,
                session=web,
                prober=Prober(lambda _host: True),
                bencher=Bencher(),
                caches=Caches(),
                progress=Progress(),
                follow=_nobody_asks,
            )

    async with wired(made, telemetry(), surroundings) as operator:
        running = asyncio.create_task(operator.run())
        try:
            yield operator
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def _nobody_asks(*, settings: OperatorSettings, judge: Judge) -> None:
    """The webhook has no part in these faults."""
    del settings, judge
    await asyncio.Event().wait()


@contextlib.contextmanager
def controllers(api: KubeApi, *names: str, folder: Path) -> Iterator[None]:
    """kube-controller-manager with these controllers alone."""
    config = str(api.kubeconfigs["admin"])
    command = [str(find_binary()), "kube-controller-manager", f"--kubeconfig={config}", "--leader-elect=false",
               f"--controllers={','.join(names)}", "--secure-port=0", "--profiling=false"]  # fmt: skip
    with (folder / "controllers.log").open("wb") as log:
        process = start(command, output=log, start_new_session=True)
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(timeout=STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


async def until(fact: Callable[[], Any], what: str, *, seconds: float) -> float:
    """Wait for a fact; after how many seconds it came. Raises AssertionError."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not await asyncio.to_thread(fact):
        assert loop.time() - began < seconds, f"waited {seconds:.0f} s for {what}"
        await asyncio.sleep(0.2)
    return loop.time() - began
