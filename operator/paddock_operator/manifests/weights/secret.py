"""The short-lived token by which the control plane knows that this download was allowed."""

from paddock_operator.manifests.render import WeightsRendering
from paddock_operator.manifests.volume_work import token_secret
from paddock_operator.ports import Manifest

ORDER = 3
TOKEN_KEY = "decision-token"  # noqa: S105 - a key's name


def render(rendering: WeightsRendering) -> Manifest:
    """Replaced each time that the Job is started."""
    return token_secret(rendering, key=TOKEN_KEY)
