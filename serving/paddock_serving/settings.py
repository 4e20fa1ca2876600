"""Settings of the commands, from the environment with prefix PADDOCK_SERVING_."""

from pathlib import Path
from typing import Annotated

from paddock_core.catalog.types import Dimensions, WeightSet
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

    hub_url: str = "https://huggingface.co"
    """Base URL of the model hub (or a mirror of it)."""

    hub_token: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("HF_TOKEN", "PADDOCK_SERVING_HUB_TOKEN")
    )
    """Token for gated models, from a Secret."""


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
