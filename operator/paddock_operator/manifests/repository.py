"""Triton's model repository, as files of a ConfigMap."""

from paddock_core.resources import names
from paddock_core.serving.triton_config import repository_files

from paddock_operator.manifests.render import Rendering


def files(rendering: Rendering) -> dict[str, str]:
    """The repository's files by path."""
    path = names.weights_path(rendering.model, precision=rendering.plan.weights, weights=rendering.weights)
    if rendering.compiled is None:
        return repository_files(rendering.plan, model_path=path)
    return repository_files(rendering.plan, model_path=names.engine_path(rendering.compiled), tokenizer_path=path)


def key_of(path: str) -> str:
    """A ConfigMap's keys hold no slash."""
    return path.replace("/", "__")
