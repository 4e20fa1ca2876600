"""Settings of the commands, from the environment with prefix PADDOCK_SERVING_."""

from pathlib import Path
from typing import Annotated

from paddock_core.catalog.types import Dimensions, WeightSet
from paddock_core.serving.contract import PROGRESS_PORT
from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class ServeSettings(BaseSettings):
    """What `paddock-serving serve` reads."""

    model_config = SettingsConfigDict(env_prefix="PADDOCK_SERVING_", use_attribute_docstrings=True)

    triton_secret: SecretStr = Field(min_length=32)
    """Value of the header that every restricted API demands; the operator puts it here from a Secret."""

    bind: str = Field(pattern=r"^[0-9A-Fa-f.:]+$")
    """Address that Triton listens on: the pod's own, never all."""

    models_dir: Path = Path("/models")
    """The model repository, as the operator rendered it (a ConfigMap)."""

    scratch_dir: Path = Path("/scratch")
    """A writable folder that goes with the pod."""

    exit_timeout_seconds: int = Field(default=60, ge=1, le=3600)
    """How long a stopping server lets running requests end."""

    termination_log: Path = Path("/dev/termination-log")
    """Where the reason is left for the operator if nothing can be served."""


class _GroupMember(BaseSettings):
    """What the pods of a group read, leader and workers alike. LeaderWorkerSet sets the variables LWS_*."""

    model_config = SettingsConfigDict(
        env_prefix="PADDOCK_SERVING_", use_attribute_docstrings=True, populate_by_name=True
    )

    group_port: int = Field(default=2233, ge=1024, le=65535)
    """Port of the workers' SSH servers."""

    group_keys: Path = Path("/keys")
    """Folder with the group's key pair, `id` and `id.pub` (a Secret)."""

    scratch_dir: Path = Path("/scratch")
    """A writable folder that goes with the pod."""


class WorkerSettings(_GroupMember):
    """What `paddock-serving serve-worker` reads."""

    bind: str = Field(pattern=r"^[0-9A-Fa-f.:]+$")
    """Address that the SSH server listens on: the pod's own, never all."""

    exit_timeout_seconds: int = Field(default=80, ge=1, le=3600)
    """How long a worker that is asked to stop waits for the leader, which finishes what runs."""


class GroupSettings(_GroupMember):
    """What `paddock-serving serve` reads beside ServeSettings, in the leader of a group."""

    leader: str = Field(validation_alias=AliasChoices("LWS_LEADER_ADDRESS", "leader"), max_length=253)
    """DNS name of the leader's pod."""

    size: int = Field(validation_alias=AliasChoices("LWS_GROUP_SIZE", "size"), ge=2, le=1024)
    """Pods of the group, the leader among them."""

    gpus_per_pod: int = Field(ge=1, le=64)
    """GPUs of each pod: one rank for each."""

    group_join_seconds: int = Field(default=600, ge=1, le=86400)
    """How long the leader waits for its workers, whose nodes may still be fetching the image. The operator gives the
    leader's start that much longer."""


class PrepareSettings(BaseSettings):
    """What `paddock-serving prepare-weights` reads."""

    model_config = SettingsConfigDict(
        env_prefix="PADDOCK_SERVING_", use_attribute_docstrings=True, populate_by_name=True
    )

    model: str
    """Id of a model of the catalogue, or of a registered one."""

    precision: str | None = None
    """Which of the model's checkpoints; the catalogue's default if not given."""

    checkpoint: WeightSet | None = None
    """The checkpoint as the operator knows it (JSON, as in the catalogue); the catalogue's if not given."""

    dimensions: Dimensions | None = None
    """Dimensions of the model's root (JSON, as in the catalogue): the files must have them. The catalogue's if not
    given."""

    parameters: int | None = Field(default=None, ge=1)
    """How many parameters the model's root has."""

    licenses: tuple[str, ...] = ()
    """Catalogue ids (JSON list) of the licenses whose notices are put beside the files: the model's, and those of its
    teachers that ask for it."""

    weights_dir: Path = Path("/weights")
    """Where the files go: `<weights_dir>/<sha256>/<file name>`."""

    controlplane_url: str
    """Base URL of the control plane: asked for leave first, given the tokenizer afterwards."""

    decision_token: SecretStr
    """Proof that the license of this model allows the download now; from a Secret, short-lived."""

    import_dir: Path = Path("/weights/import")
    """Where checkpoints lie that the platform's team brings itself: `<import_dir>/<model>/<precision>/`."""

    termination_log: Path = Path("/dev/termination-log")
    """Where the result is left for the operator."""

    source_dir: Path = Path("/source")
    """Where the claim of a source of kind pvc is mounted."""

    bind: str = Field(default="", pattern=r"^[0-9A-Fa-f.:]*$")
    """Address on which progress is told, the pod's own; empty: nowhere."""

    progress_port: int = Field(default=PROGRESS_PORT, ge=1, le=65535)
    """Port on which progress is told."""

    connections: int = Field(default=4, ge=1, le=32)
    """How many files are fetched side by side."""

    s3_access_key_id: str = ""
    """Who reads from S3; empty: anybody may."""

    s3_secret_access_key: SecretStr = SecretStr("")
    """What requests to S3 are signed with, from a Secret."""

    s3_session_token: SecretStr = SecretStr("")
    """Of temporary S3 credentials, from a Secret."""

    oci_username: str = ""
    """Who pulls from the registry; empty: anybody may."""

    oci_password: SecretStr = SecretStr("")
    """Password for the registry, from a Secret."""

    hub_url: str = "https://huggingface.co"
    """Base URL of the model hub (or a mirror of it)."""

    hub_token: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("HF_TOKEN", "PADDOCK_SERVING_HUB_TOKEN")
    )
    """Token for gated models, from a Secret."""


class BuildSettings(BaseSettings):
    """What `paddock-serving build-engine` reads."""

    model_config = SettingsConfigDict(env_prefix="PADDOCK_SERVING_", use_attribute_docstrings=True)

    model: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$")
    """Whose engine it is: it goes with that model's files."""

    engine: str = Field(max_length=8192)
    """Everything that the engine depends on (JSON, paddock_core.engines.request)."""

    weights_dir: Path = Path("/weights")
    """The volume."""

    calibration_dir: Path = Path("/weights/import/calibration")
    """Where the platform's team puts the calibration set, for engines that are quantised."""

    model_packages: str = ""
    """Where this package lies for the image's own Python, which has TensorRT-LLM; the serving image sets it."""

    termination_log: Path = Path("/dev/termination-log")
    """Where the result is left for the operator."""


class PurgeSettings(BaseSettings):
    """What `paddock-serving purge-weights` reads."""

    model_config = SettingsConfigDict(env_prefix="PADDOCK_SERVING_", use_attribute_docstrings=True)

    purge: str = Field(pattern=r"^pur-[a-z2-7]{12}$")
    """The control plane's order."""

    model: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$")
    """Whose files go."""

    digests: tuple[Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")], ...] = ()
    """Digests (JSON list) under which weights of the model are known to lie."""

    imports: bool = False
    """True where what the platform's team brought itself goes too: its own license ended."""

    weights_dir: Path = Path("/weights")
    """The volume."""

    controlplane_url: str
    """Base URL of the control plane: told what was removed."""

    purge_token: SecretStr
    """Proof that this is the order's Job; from a Secret, short-lived."""

    termination_log: Path = Path("/dev/termination-log")
    """Where the result is left for people."""
