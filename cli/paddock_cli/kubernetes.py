"""LlamaDeployments through the user's kubeconfig, read only."""

from typing import Any

from paddock_core.resources.llamadeployment import GROUP, KIND, PLURAL, VERSION

from paddock_cli.errors import DeniedError, NotFoundError, UnreachableError


def list_objects(*, namespace: str | None, context: str | None) -> list[dict[str, Any]]:
    """Every LlamaDeployment of a namespace, or of all. Raises an error of this package if the cluster refuses."""
    client, resource = _client(context)
    found = _guarded(lambda: list(client.list(resource, namespace=namespace or "*")))
    return [item.to_dict() for item in found]


def read_object(*, namespace: str, name: str, context: str | None) -> dict[str, Any]:
    """One LlamaDeployment. Raises NotFoundError if there is none."""
    client, resource = _client(context)
    found: dict[str, Any] = _guarded(lambda: client.get(resource, name, namespace=namespace)).to_dict()
    return found


def _client(context: str | None) -> tuple[Any, Any]:
    from lightkube import Client, KubeConfig
    from lightkube.core.exceptions import ConfigError
    from lightkube.generic_resource import create_namespaced_resource

    try:
        config = KubeConfig.from_env().get(context)
        return Client(config=config), create_namespaced_resource(GROUP, VERSION, KIND, PLURAL)
    except ConfigError as error:
        raise UnreachableError(f"no usable kubeconfig: {error}", advice="set KUBECONFIG, or give --context") from error


def _guarded(call: Any) -> Any:
    """Run a call and turn the client's exceptions into errors of this package."""
    import httpx
    from lightkube.core.exceptions import ApiError

    try:
        return call()
    except ApiError as error:
        if error.status.code in (401, 403):
            raise DeniedError(str(error), advice="your kubeconfig's user may not read that") from error
        raise NotFoundError(str(error), advice="`paddock deploy list` shows what there is") from error
    except httpx.HTTPError as error:
        raise UnreachableError(f"the cluster does not answer: {error}", advice="check KUBECONFIG") from error
