"""Types of the fields that requests carry, with their bounds, and the base of every request body."""

from typing import Annotated

from paddock_core.catalog.areas import known_countries
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema

Id = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")]
"""An id that people choose: a DNS label of at most 40 characters, so that it fits into names of Kubernetes objects."""
NamespaceName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
CatalogId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$")]
Line = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$")
]


def _known_country(code: str) -> str:
    if code not in known_countries():
        raise ValueError(f"{code} is no code of a country: write it as ISO 3166-1 does, for example GB")
    return code


Country = Annotated[
    str, AfterValidator(_known_country), WithJsonSchema({"type": "string", "enum": sorted(known_countries())})
]
"""ISO 3166-1 alpha-2 code."""
Email = Annotated[str, StringConstraints(max_length=254, pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=500_000)]
Overlap = Annotated[float, Field(ge=0, le=30 * 86_400)]
"""Seconds for which a secret that was replaced still works, 30 days at most."""
Count = Annotated[int, Field(ge=0, le=2**53)]
Gpus = Annotated[int, Field(ge=0, le=1_000_000)]


class Body(BaseModel):
    """A request's body. A field that is not known here is refused, not ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class LimitsBody(Body):
    """What may be used; null or absent sets no limit of that kind."""

    requests_per_minute: Count | None = None
    input_tokens_per_minute: Count | None = None
    output_tokens_per_minute: Count | None = None
    concurrent_requests: Count | None = None
    max_output_tokens: Annotated[int, Field(ge=1, le=2**31)] | None = None
    """Cap on the output of a single request, in tokens."""
    max_context_tokens: Annotated[int, Field(ge=1, le=2**31)] | None = None
    """Cap on prompt and answer of a single request together, in tokens."""
    tokens_per_day: Count | None = None
    """Tokens of prompts and answers in a day of UTC."""
    tokens_per_month: Count | None = None
    """Tokens of prompts and answers in a calendar month of UTC."""
    money_per_month_nano: Count | None = None
    """Price of a calendar month of UTC, in nano-units (10^-9) of the price book's currency."""
