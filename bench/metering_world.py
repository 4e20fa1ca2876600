"""What `metering.py` puts around gateways and LiteLLM: five levels of limits, and an environment for each peer."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from gateway_world import LIMITS, world_answers

TOOLS = Path(__file__).parent.parent / ".paddock" / "bench"
LITELLM_VERSION = "1.106.2"
PROFILER_VERSION = "0.4.3"
MASTER_KEY = "sk-bench-master"
FIVE = {**LIMITS, "tokens_per_month": 10**15}
END_USER = "somebody@example.com"


def answers() -> dict[str, str]:
    """As the gateway's own benchmark has them, with limits on platform, tenant, project, key and end user."""
    told = world_answers()
    policy = json.loads(told["/internal/v1/policy"])
    objects = policy["objects"]
    objects["platform_limits"] = {"platform": {"id": "platform", "limits": FIVE}}
    objects["project"] = {"bench/web": {"id": "bench/web", "tenant": "bench", "limits": FIVE}}
    objects["tenant"]["bench"] |= {"limits": FIVE, "end_user_limits": FIVE}
    for key in objects["api_key"].values():
        key |= {"limits": FIVE, "project": "web"}
    return {**told, "/internal/v1/policy": json.dumps(policy)}


def tool(name: str, *requirements: str) -> Path:
    """The folder of programs of an environment of the benchmark's own; made at the first use, never the project's.

    Raises subprocess.CalledProcessError if it cannot be installed.
    """
    folder = TOOLS / name
    done = folder / ".complete"
    if not done.exists() or done.read_text() != " ".join(requirements):
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        install = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", *requirements]
        subprocess.run(install, check=True, stdout=sys.stderr)
        done.write_text(" ".join(requirements))
    return folder / "bin"


def litellm_config(folder: Path, *, upstream: int) -> Path:
    """One model at an upstream that speaks OpenAI's API, the master key, no log of requests."""
    parameters = {"model": "openai/demo", "api_base": f"http://127.0.0.1:{upstream}/v1", "api_key": "bench"}
    document: dict[str, Any] = {
        "model_list": [{"model_name": "bench/demo", "litellm_params": parameters}],
        "general_settings": {"master_key": MASTER_KEY, "disable_spend_logs": True},
        "litellm_settings": {"telemetry": False, "set_verbose": False},
    }
    path = folder / "litellm.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


LITELLM_ENVIRONMENT = {
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOG": "ERROR",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "NO_DOCS": "True",
}
