"""On a real API server: a cache that fills adds a copy, and an operator that hears of no gateway takes none away."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.resources import names
from paddock_core.serving import contract

MODEL = packaged_catalog().models["smollm2-135m-instruct"]
JOB = names.weights_job_name(names.model_digest(MODEL, precision=MODEL.default_precision))
NAME, SERVING, ADDRESS = "full", "paddock-serving-acme", "127.77.10.1"
SCALING = {"maxReplicas": 2, "kvUsePercent": 60, "scaleDownDelaySeconds": 0}
GAUGE = f'{contract.CACHE_METRIC}{{{contract.CACHE_METRIC_LABEL}="{contract.CACHE_USED_PART}",version="1"}}'


class Metrics:
    """The metrics page of a pod."""

    def __init__(self) -> None:
        self.used = 0.9
        self.asked = 0

    async def page(self, _: web.Request) -> web.Response:
        self.asked += 1
        return web.Response(text=f"# TYPE {contract.CACHE_METRIC} gauge\n{GAUGE} {self.used}\n")


@contextlib.asynccontextmanager
async def metrics_at(address: str) -> AsyncIterator[Metrics]:
    metrics, app = Metrics(), web.Application()
    app.router.add_get("/metrics", metrics.page)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, address, contract.METRICS_PORT).start()
    try:
        yield metrics
    finally:
        await runner.cleanup()


def copies(api: Any, cluster_helpers: Any) -> list[dict[str, Any]]:
    found = cluster_helpers.get(api, "replicasets", "-n", SERVING, "-l", f"{names.DEPLOYMENT_NAME}={NAME}")
    return [item for item in found["items"] if "deletionTimestamp" not in item["metadata"]]


async def test_a_full_cache_adds_a_copy_and_an_empty_one_alone_takes_none_away(
    api: Any, policy: Any, helpers: Any, operator: Any, eventually: Any, cluster_helpers: Any
) -> None:
    policy.put(*helpers.accepted("acme-inc"))
    api.apply(cluster_helpers.deployment(name=NAME, scaling=SCALING))
    job = await eventually(lambda: cluster_helpers.get(api, "job", JOB, "-n", "paddock-weights"))
    if not job.get("status", {}).get("succeeded"):
        await asyncio.to_thread(cluster_helpers.finish_weights, api, JOB)
    async with cluster_helpers.triton_at(ADDRESS), metrics_at(ADDRESS) as metrics:
        (first,) = await eventually(lambda: copies(api, cluster_helpers))
        await asyncio.to_thread(lambda: cluster_helpers.run_pod(api, first, address=ADDRESS))
        await eventually(lambda: len(copies(api, cluster_helpers)) == 2)
        scaled = cluster_helpers.get(api, "llamadeployment", NAME, "-n", "acme")["status"]["scaling"]
        assert scaled["desiredReplicas"] == 2
        assert scaled["reason"] == "90 percent of the key-value cache is used, 60 are allowed"

        metrics.used, before = 0.0, metrics.asked
        await eventually(lambda: metrics.asked > before, 60.0)
        assert len(copies(api, cluster_helpers)) == 2, "no gateway said that nothing is asked"
    api.kubectl("delete", "llamadeployment", NAME, "-n", "acme", "--wait=false")
    await eventually(lambda: not copies(api, cluster_helpers))
    labels = ("-l", f"{names.DEPLOYMENT_NAME}={NAME}")
    api.kubectl("delete", "pods", "-n", SERVING, *labels, "--grace-period=0", "--force")
    await eventually(lambda: cluster_helpers.get(api, "llamadeployment", NAME, "-n", "acme") is None)
