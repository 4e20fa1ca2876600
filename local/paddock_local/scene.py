"""The stage of the demonstration: a running stack as the story's World."""

from collections.abc import Callable

from paddock_local.demo.narrator import Narrator
from paddock_local.demo.world import World
from paddock_local.stack import Stack


def make_world(stack: Stack) -> Callable[[Narrator], World]:
    """What the story needs to act on `stack`; credentials of its people lie in the stack's own folder."""

    def world(narrator: Narrator) -> World:
        folder = stack.paths.folder("story")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return World(
            checkout=stack.paths.checkout, folder=folder, gateway_url=stack.url("gateway"),
            controlplane_url=stack.url("controlplane"), admin_token_file=stack.paths.secret("admin-token"),
            kubectl_path=stack.kubectl, kubeconfig=stack.kubeconfig_of, narrator=narrator,
        )  # fmt: skip

    return world
