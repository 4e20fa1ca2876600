"""The gateway's settings: environment variables with the prefix PADDOCK_GATEWAY_."""

import socket
from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Times are seconds, sizes bytes."""

    model_config = SettingsConfigDict(
        env_prefix="PADDOCK_GATEWAY_", use_attribute_docstrings=True, frozen=True, extra="ignore"
    )

    host: str = "127.0.0.1"
    """Address on which clients are served."""
    port: int = Field(default=7400, ge=1, le=65535)
    """Port on which clients are served, with /healthz and /readyz."""
    metrics_host: str = "127.0.0.1"
    """Address of the Prometheus exposition."""
    metrics_port: int = Field(default=7411, ge=1, le=65535)
    """Port of the Prometheus exposition (/metrics)."""
    internal_host: str = "127.0.0.1"
    """Address of the internal port, which the operator alone asks."""
    internal_port: int = Field(default=7412, ge=1, le=65535)
    """Port on which the operator is told what is asked of each deployment, behind the internal API's token."""
    controlplane_url: str = "http://127.0.0.1:7401"
    """Base URL of the control plane."""
    internal_token_file: Path
    """File that holds the token of the control plane's internal API."""
    platform_key_file: Path
    """File that holds the platform key, from which each deployment's Triton secret is derived."""
    kubeconfig: Path | None = None
    """Kubeconfig for watching LlamaDeployments; absent means the pod's own service account."""
    journal_dir: Path
    """Folder of the usage journal, on a disk that survives a restart."""
    cache_dir: Path
    """Folder for the policy's last good copy and for tokenizer documents; may be thrown away."""
    instance: str = Field(default_factory=socket.gethostname, min_length=1, max_length=128)
    """Name of this gateway in usage records and in the journal folder; unique among the running gateways."""

    max_body_bytes: int = Field(default=1024 * 1024, ge=1024)
    """Largest request body."""
    max_header_bytes: int = Field(default=32 * 1024, ge=1024)
    """Largest request head (line and headers together)."""
    max_held: int = Field(default=100, ge=1)
    """Most requests that wait for an endpoint of one deployment (a rollout, a start from zero)."""
    max_held_of_tenant: int = Field(default=250, ge=1)
    """... of all that one caller's tenant asks for."""
    max_held_in_all: int = Field(default=1000, ge=1)
    """... in all."""
    max_held_bytes: int = Field(default=64 * 1024 * 1024, ge=1024)
    """Most bytes of the bodies of all that wait; one tenant's part is as large as that of the places. Parsed they take
    up to five times as much memory."""
    body_timeout_seconds: float = Field(default=15.0, gt=0)
    """How long a client may take to send a request's head, and again for its body."""
    request_timeout_seconds: float = Field(default=900.0, gt=0)
    """How long one request may run before it is cut off and settled."""
    engine_connect_timeout_seconds: float = Field(default=3.0, gt=0)
    """How long a connection to Triton may take."""
    shutdown_seconds: float = Field(default=30.0, gt=0)
    """How long running streams may go on after SIGTERM."""
    default_max_output_tokens: int = Field(default=1024, ge=1)
    """Output cap of a request that names none."""
    default_max_output_tokens_of: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """The same by model, a JSON object of catalogue ids."""
    extension_tokens: int = Field(default=256, ge=1)
    """Output is covered by budgets in steps of so many tokens, the first before the engine starts."""
    journal_segment_bytes: int = Field(default=8 * 1024 * 1024, ge=256 * 1024)
    """Size of one journal segment, allocated in advance."""
    checkpoint_tokens: int = Field(default=32, ge=1)
    """A checkpoint is written after so many tokens of a request."""
    checkpoint_seconds: float = Field(default=1.0, gt=0)
    """... or after so long, whichever comes first."""
    reap_seconds: float = Field(default=20.0, gt=0)
    """How long engines are asked for the count of a request whose gateway died."""
    adopt_after_seconds: float = Field(default=120.0, gt=0)
    """A journal of another gateway on the same volume is settled and shipped here once it was still for so long."""
    ship_batch: int = Field(default=500, ge=1, le=5000)
    """Most usage records sent to the control plane at once."""
    ship_linger_seconds: float = Field(default=0.1, ge=0)
    """How long shipping waits for more records."""
    active_users_seconds: float = Field(default=60.0, gt=0)
    """How often sketches of active users are sent to the control plane."""
    active_users_most: int = Field(default=4096, ge=16)
    """Most sketches held at once, one a tenant, product and day; each takes 16 KiB at most."""
    operator_wait_seconds: float = Field(default=0.0, ge=0)
    """How long after its start a gateway is not ready unless the operator has asked it: a copy may be taken away from
    the requests of a gateway that the operator has not found yet. 0 where it was told of each gateway's address."""
    policy_wait_seconds: float = Field(default=25.0, gt=0)
    """How long one poll of the policy may wait for a change."""

    def described(self) -> dict[str, str]:
        """What the start-up log line shows: secrets are files, so their paths are all there is to show."""
        return {name: str(value) for name, value in self.model_dump().items()}
