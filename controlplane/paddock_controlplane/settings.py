"""Every setting of the control plane, read from the environment with the prefix PADDOCK_CONTROLPLANE_."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from paddock_controlplane.problems import SettingsError

_SHORTEST_SECRET = 16


class Settings(BaseSettings):
    """Settings of `paddock-controlplane serve` and `migrate`. Secrets come from files and are shown masked."""

    model_config = SettingsConfigDict(env_prefix="PADDOCK_CONTROLPLANE_", use_attribute_docstrings=True, extra="ignore")

    database_url: SecretStr | None = None
    """DSN of PostgreSQL, `postgresql+asyncpg://user:password@host/database`."""
    database_url_file: Path | None = None
    """File that holds the DSN; used instead of `database_url`."""
    database_pool_size: int = Field(default=8, ge=2, le=200)
    """Most connections to PostgreSQL that requests share."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(default=7401, ge=0, le=65535)
    """Port to listen on."""
    public_url: str = "http://127.0.0.1:7401"
    """How people reach this API; links for signatories start with it."""
    admin_token_file: Path | None = None
    """File with the platform team's bearer token, at least 16 characters."""
    internal_token_file: Path | None = None
    """File with the bearer token of gateways and the operator, at least 16 characters."""
    platform_key_file: Path | None = None
    """File with the platform's secret key: signs decision tokens, seals answers kept for idempotency."""
    audit_key_file: Path | None = None
    """File with the key that signs the audit log's head."""
    audit_heads_file: Path | None = None
    """File to which the audit log's signed head is appended every hour, best on another machine's storage."""
    artifacts_dir: Path = Path("artifacts")
    """Folder in which published artifacts (tokenizer documents) lie, by digest."""
    max_policy_age_seconds: float = Field(default=900, gt=0)
    """How long a follower that cannot reach the control plane may go on with its copy of the policy, in seconds."""
    offer_seconds: float = Field(default=1800, gt=0)
    """How long a signatory's link stays valid from its issuance, in seconds."""
    offer_wait_seconds: float = Field(default=604800, gt=0)
    """How long an offer of the platform waits for the entity to issue its signatory's link, in seconds."""
    quota_lease_seconds: float = Field(default=300, ge=10, le=3600)
    """How long a gateway may spend units of a budget that it holds without reaching the control plane, in seconds."""
    quota_valkey_url_file: Path | None = None
    """File with the URL of a Valkey that holds rates and slots, `valkey://:password@host:6379/0`; absent: they lie in
    PostgreSQL, as budgets do in any case."""
    decision_token_seconds: float = Field(default=21600, gt=0)
    """How long a decision token for a download stays valid, in seconds."""
    usage_retention_days: float = Field(default=400, ge=3)
    """How long rows of the usage ledger are kept after they arrived, and pods' times after their end, in days."""
    events_sink_url: str | None = Field(default=None, pattern=r"^https?://")
    """Where each row of the ledger is posted as a CloudEvent, in batches; absent: events are only there to be read."""
    events_sink_token_file: Path | None = None
    """File with the bearer token that opens the receiver of events."""
    active_users_days: int = Field(default=92, ge=1, le=3660)
    """How long daily sketches of active users are kept, in days; monthly ones stay."""
    policy_log_days: float = Field(default=7, gt=0)
    """How long superseded rows of the policy log are kept for followers that were away, in days."""

    def dsn(self) -> str:
        """The DSN of the database.

        Raises:
            SettingsError: none is set, or its file cannot be read.
        """
        if self.database_url_file is not None:
            return self._content("database_url_file", self.database_url_file)
        if self.database_url is None:
            raise SettingsError("set PADDOCK_CONTROLPLANE_DATABASE_URL or PADDOCK_CONTROLPLANE_DATABASE_URL_FILE")
        return self.database_url.get_secret_value()

    def secret(self, name: str) -> bytes:
        """The content of the file that the setting `<name>_file` points to, without white space around it.

        Raises:
            SettingsError: the setting is missing, the file cannot be read, or its content is too short.
        """
        path: Path | None = getattr(self, f"{name}_file")
        if path is None:
            raise SettingsError(f"set PADDOCK_CONTROLPLANE_{name.upper()}_FILE to a file with the {name}")
        content = self._content(f"{name}_file", path).encode()
        if len(content) < _SHORTEST_SECRET:
            raise SettingsError(f"{path}: {name} needs at least {_SHORTEST_SECRET} characters")
        return content

    def quota_valkey_url(self) -> str | None:
        """Of the Valkey for rates and slots; None if there is none.

        Raises:
            SettingsError: the file cannot be read.
        """
        path = self.quota_valkey_url_file
        return None if path is None else self._content("quota_valkey_url_file", path)

    def events_sink_token(self) -> str:
        """What opens the receiver of events; empty if it asks for nothing.

        Raises:
            SettingsError: the file cannot be read.
        """
        path = self.events_sink_token_file
        return "" if path is None else self._content("events_sink_token_file", path)

    def masked(self) -> dict[str, str]:
        """The settings as they are printed at start."""
        return {name: str(value) for name, value in self.model_dump().items() if value is not None}

    def _content(self, name: str, path: Path) -> str:
        try:
            return path.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"PADDOCK_CONTROLPLANE_{name.upper()}: cannot read {path}: {error}") from error
