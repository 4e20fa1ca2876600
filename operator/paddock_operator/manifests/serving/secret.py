"""What this deployment's pods alone may know: the secret that its Triton demands, and its groups' key pair."""

import base64

from paddock_operator.manifests.group_keys import key_pair
from paddock_operator.manifests.render import Rendering
from paddock_operator.ports import Manifest

ORDER = 4
SECRET_KEY = "triton-secret"  # noqa: S105 - a key's name
KEY_FILES = {"group-key": "id", "group-key.pub": "id.pub"}
"""Keys of the Secret, and the files that the pods of a group find them in."""


def render(rendering: Rendering) -> Manifest:
    """`data`, not `stringData`: the latter is turned into the former and would never compare equal."""
    values = {SECRET_KEY: rendering.secret}
    if rendering.spans_pods:
        pair = key_pair(rendering.group_seed)
        values |= dict(zip(KEY_FILES, (pair.private, pair.public), strict=True))
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": rendering.metadata(),
        "type": "Opaque",
        "data": {name: base64.b64encode(value.encode()).decode() for name, value in values.items()},
    }
