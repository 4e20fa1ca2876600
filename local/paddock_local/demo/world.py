"""What the story acts through: the `paddock` command, kubectl and OpenAI's own SDK, as a person would use them."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from openai import OpenAI

from paddock_local.demo.narrator import HIDDEN, Narrator, redacted
from paddock_local.errors import LocalError

T = TypeVar("T")
POLL_SECONDS = 0.25
COMMAND_SECONDS = 240
"""`kubectl delete` waits until the pods are gone, which may use up their grace period of 90 seconds and more."""
NO_KEY = "none"
"""The SDK wants a word; a request without a tenant is sent without the header."""


class StoryError(LocalError):
    """A step of the story did not go as it must; the message says what was expected and what was seen."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(kw_only=True)
class World:
    """One running stack, and the people of the story with their credentials."""

    checkout: Path
    folder: Path
    """Private folder of the story: tokens and keys, 0600."""
    gateway_url: str
    controlplane_url: str
    admin_token_file: Path
    kubectl_path: Path
    kubeconfig: Callable[[str], Path]
    """A user's name to the file of that user's kubeconfig."""
    narrator: Narrator
    memory: dict[str, Any] = field(default_factory=dict)
    """What an earlier step of this run learnt."""
    clients: dict[str, OpenAI] = field(default_factory=dict, repr=False)
    """One for each key, so that connections are used again and can be closed."""

    def paddock(
        self, *args: str, who: str = "platform", signatory: str = "", speaker: str = "", expect: int | None = 0
    ) -> Outcome:
        """Run `paddock` as the platform or as a tenant's administrator; in the story only the exit code is fixed.

        A signatory's token goes through the environment: a program's arguments can be read by everybody. `speaker` is
        who the story says types it, where that is not `who`.
        """
        token = self.admin_token_file if who == "platform" else self.secret_file(f"{who}-admin")
        environment = {
            "PATH": f"{self.checkout / '.paddock' / 'venv' / 'bin'}:/usr/bin:/bin",
            "HOME": str(self.folder),
            "PADDOCK_URL": self.controlplane_url,
            "PADDOCK_TOKEN_FILE": str(token),
        }
        shown = ["paddock", *args]
        if signatory:
            environment["PADDOCK_SIGNATORY_TOKEN"] = signatory
            shown = [f"PADDOCK_SIGNATORY_TOKEN={HIDDEN}", *shown]
        program = str(self.checkout / ".paddock" / "venv" / "bin" / "paddock")
        command = [program, *args, "-o", "json"]
        return self._run(command, shown=shown, who=speaker or who, environment=environment, expect=expect)

    def kubectl(self, *args: str, who: str = "acme", expect: int | None = 0) -> Outcome:
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig(who)), "HOME": str(self.folder)}
        return self._run(
            [str(self.kubectl_path), *args], shown=["kubectl", *args], who=who, environment=environment, expect=expect
        )

    def client(self, tenant: str) -> OpenAI:
        """OpenAI's SDK with the tenant's key: a change of base URL and key is all that moving takes."""
        key = self.secret(f"{tenant}-key") if tenant else NO_KEY
        if key not in self.clients:
            self.clients[key] = OpenAI(base_url=f"{self.gateway_url}/v1", api_key=key, max_retries=0, timeout=300)
        return self.clients[key]

    def close(self) -> None:
        """End the connections."""
        for client in self.clients.values():
            client.close()
        self.clients.clear()

    def deployment(self, name: str = "smollm2", namespace: str = "acme") -> dict[str, Any]:
        """The LlamaDeployment as the API server has it, read quietly."""
        arguments = ["get", "llamadeployment", name, "-n", namespace, "-o", "json"]
        done = subprocess.run(
            [str(self.kubectl_path), *arguments],
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig("acme"))},
            capture_output=True, text=True, check=False, timeout=COMMAND_SECONDS,
        )  # fmt: skip
        if done.returncode:
            raise StoryError(f"kubectl {' '.join(arguments)} failed: {done.stderr.strip()}")
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def may_deploy(self, tenant: str) -> bool:
        """Whether the tenant's people may create LlamaDeployments in its namespace, asked quietly."""
        arguments = ["auth", "can-i", "create", "llamadeployments.paddock.dev", "-n", tenant, "-q"]
        done = subprocess.run(
            [str(self.kubectl_path), *arguments],
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig(tenant))},
            capture_output=True, check=False, timeout=COMMAND_SECONDS,
        )  # fmt: skip
        return done.returncode == 0

    def condition(self, kind: str, **where: str) -> dict[str, Any]:
        """The condition of this type, or an empty one while there is none."""
        status = self.deployment(**where).get("status", {})
        found = (item for item in status.get("conditions", []) if item["type"] == kind)
        return next(found, {"type": kind, "status": "Unknown", "reason": "", "message": ""})

    def wait(self, what: str, probe: Callable[[], T | None], *, seconds: float) -> T:
        """Ask until there is an answer; the narrator shows that time goes by. Raises StoryError when it is over."""
        began = time.monotonic()
        with self.narrator.waiting(what) as progress:
            while True:
                found = probe()
                elapsed = time.monotonic() - began
                if found is not None:
                    progress.done(elapsed)
                    return found
                if elapsed > seconds:
                    raise StoryError(f"waited {seconds:.0f} s for: {what}")
                time.sleep(POLL_SECONDS)

    def expect(self, fact: bool, claim: str, seen: object = "") -> None:  # noqa: FBT001 - reads as a sentence
        """State a claim that must hold, and show that it does. Raises StoryError with what was seen otherwise."""
        if not fact:
            raise StoryError(f"expected: {claim}; seen: {seen}")
        self.narrator.holds(claim)

    def secret_file(self, name: str) -> Path:
        return self.folder / name

    def secret(self, name: str) -> str:
        return self.secret_file(name).read_text()

    def keep_secret(self, name: str, value: str) -> None:
        """Write a credential for its owner only, whatever the umask is."""
        path = self.secret_file(name)
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(value)

    def _run(
        self, command: list[str], *, shown: list[str], who: str, environment: dict[str, str], expect: int | None
    ) -> Outcome:
        self.narrator.command(who, shown)
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_SECONDS,
            cwd=self.checkout,
        )
        if expect is not None and done.returncode != expect:
            said = redacted((done.stderr or done.stdout).strip())
            raise StoryError(f"`{redacted(' '.join(shown))}` ended with {done.returncode} instead of {expect}: {said}")
        return Outcome(code=done.returncode, out=done.stdout, err=done.stderr)
