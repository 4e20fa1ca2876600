"""Triton's model repository, and the plan that it was rendered from."""

from paddock_core.resources import names
from paddock_core.serving.triton_config import repository_files

from paddock_operator.decide.planned import annotations, ask_of, wish_digest
from paddock_operator.manifests.render import Rendering
from paddock_operator.ports import Manifest

ORDER = 5


def files(rendering: Rendering) -> dict[str, str]:
    """The repository's files by path."""
    path = names.weights_path(rendering.model, precision=rendering.plan.weights, weights=rendering.weights)
    if rendering.compiled is None:
        return repository_files(rendering.plan, model_path=path)
    return repository_files(rendering.plan, model_path=names.engine_path(rendering.compiled), tokenizer_path=path)


def key_of(path: str) -> str:
    """A ConfigMap's keys hold no slash."""
    return path.replace("/", "__")


def render(rendering: Rendering) -> Manifest:
    """The files, each under a key that `deployment` maps back to its path."""
    digest = wish_digest(rendering.model, ask_of(rendering.spec))
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {**rendering.metadata(), "annotations": annotations(rendering.plan, digest)},
        "data": {key_of(path): text for path, text in files(rendering).items()},
    }
