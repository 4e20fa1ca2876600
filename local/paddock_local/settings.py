"""Settings of the local stack, read from the environment."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class LocalSettings(BaseSettings):
    """What a person may set before `paddock local up`. Everything has a default that works."""

    model_config = SettingsConfigDict(env_prefix="PADDOCK_", use_attribute_docstrings=True, extra="ignore")

    port_base: int | None = Field(default=None, ge=1024, le=65000)
    """First port of the stack; every listener has a fixed offset from it. Default: 7400 (demo), 7500 (e2e)."""

    kubernetes_bin: Path | None = None
    """Folder with all five Kubernetes programs, used instead of building them."""

    keep: bool = False
    """Leave the stack that the tests started running when they end."""
