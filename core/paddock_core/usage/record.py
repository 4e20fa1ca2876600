"""One row of the usage ledger: what one admitted request consumed."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "client_gone", "engine_error", "gateway_lost", "refused_by_engine"]
"""How a request ended."""
BilledFrom = Literal["engine", "sent"]
"""Which of the counts is billed."""
UsageSource = Literal["exact", "counted", "bounded"]
"""How far the billed figure can be trusted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRecord:
    """Tokens are counts, times are Unix seconds. Prompt and response bodies are never part of it."""

    usage_id: str
    """UUIDv7 minted at admission, sent to the engine as the request id: the only key for deduplication."""
    tenant: str
    """The caller: it is billed for the tokens."""
    key_id: str
    owner_tenant: str
    """The tenant that owns the deployment: it bears the GPU cost."""
    deployment: str
    """`<namespace>/<name>`, which is also the served model name."""
    model: str
    """Catalogue id."""
    dialect: str
    operation: str
    """chat or text_completion, as in the GenAI semantic conventions."""
    stream: bool
    status: Status
    finish_reason: str | None
    t_admit: float
    t_first_token: float | None
    t_end: float
    reserved_tokens: int
    input_tokens: int
    """Counted by the gateway's tokenizer before admission."""
    output_tokens_engine: int | None
    """The engine's own final count; None where it never arrived."""
    output_tokens_sent: int
    """Tokens in the chunks that were handed to the client's connection."""
    output_tokens: int
    """The billed figure."""
    billed_from: BilledFrom
    usage_source: UsageSource
    acceptance_id: str
    """Acceptance of the caller's entity (its own as deployer, or as consumer) under which the request ran."""
    end_user_hash: str | None
    gateway_instance: str
    journal_seq: int
    project: str | None = None
    """The tenant's project that the key belongs to, where there is one."""
    end_user_group: str | None = None
    """A group of end users that the tenant tells apart, where it does."""
    raw_usage: str | None = None
    """JSON, the counts as the engine itself reported them; None where it reported none."""
    cache_read_tokens: int = 0
    """Of `input_tokens`, those read from a prompt cache."""
    cache_write_tokens: int = 0
    """Of `input_tokens`, those written to a prompt cache. No token is both read and written."""
    reasoning_tokens: int = 0
    """Of `output_tokens`, those that are reasoning and not answer."""
