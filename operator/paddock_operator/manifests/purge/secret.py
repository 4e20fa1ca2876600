"""The short-lived token by which the control plane knows that this Job carries out its order."""

from paddock_operator.manifests.render import PurgeRendering
from paddock_operator.manifests.volume_work import token_secret
from paddock_operator.ports import Manifest

ORDER = 3
TOKEN_KEY = "purge-token"  # noqa: S105 - a key's name


def render(rendering: PurgeRendering) -> Manifest:
    """Replaced each time that the Job is started."""
    return token_secret(rendering, key=TOKEN_KEY)
