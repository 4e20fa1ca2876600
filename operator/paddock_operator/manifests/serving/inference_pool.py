"""The pods as a pool of the Gateway API's inference extension, where the cluster has it.

A gateway that goes there must send the deployment's secret, as ours does: the pool only says which pods there are.
"""

from paddock_core.serving.contract import HTTP_PORT

from paddock_operator.kinds import INFERENCE_POOL
from paddock_operator.manifests.render import Rendering
from paddock_operator.ports import Manifest

ORDER = 9


def render(rendering: Rendering) -> list[Manifest]:
    """One for a deployment on GPUs: pickers read the metrics of that engine."""
    if INFERENCE_POOL not in rendering.apis or not rendering.plan.gpus_per_pod:
        return []
    pool = {
        "apiVersion": INFERENCE_POOL.api_version,
        "kind": INFERENCE_POOL.name,
        "metadata": rendering.metadata(),
        "spec": {
            "selector": {"matchLabels": rendering.endpoints},
            "targetPorts": [{"number": HTTP_PORT}],
            # A pool may not lack a picker; without one that answers, any pod of the pool will do.
            "endpointPickerRef": {
                "name": rendering.config.endpoint_picker,
                "port": {"number": rendering.config.endpoint_picker_port},
                "failureMode": "FailOpen",
            },
        },
    }
    return [pool]
