"""Ends Triton when the process that holds the model dies.

Triton keeps answering "ready" after its Python backend's process has crashed, and never starts it again. So the model
keeps a tiny process that waits on a pipe: when the pipe closes without a word, the model's process is gone, and the
server is killed, so that the pod restarts.
"""

import subprocess

_SCRIPT = 'read -r word || kill -9 "$0"'


class Guard:
    """A shell that kills the process `server` as soon as this process dies without having dismissed it."""

    def __init__(self, *, server: int) -> None:
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", _SCRIPT, str(server)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def dismiss(self) -> None:
        """The model is unloaded on purpose: nothing has to be killed."""
        self._shell.communicate(b"dismissed\n")
