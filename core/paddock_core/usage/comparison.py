"""What tokens cost on hardware of one's own, and what the same tokens would cost at listed prices.

The price list is the platform team's: this product holds no prices of others. Tokens are counted by the model that
produced them; another model's tokenizer may count the same text differently, which no arithmetic here can know.
"""

from dataclasses import dataclass
from typing import Annotated

import msgspec
import yaml

from paddock_core.usage.money import PER_TOKENS, AmountError, parse_amount, tokens_cost

HOUR_MS = 3_600_000
MOST_MODELS = 1000

Amount = Annotated[str, msgspec.Meta(max_length=30)]
Line = Annotated[str, msgspec.Meta(min_length=1, max_length=300)]


class PriceListError(ValueError):
    """A price list cannot be read; the message says where and why."""


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    name: Line
    input: Amount
    output: Amount
    source: Line
    as_of: Line


class _List(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    currency: Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")]
    models: Annotated[tuple[_Entry, ...], msgspec.Meta(min_length=1, max_length=MOST_MODELS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A model's price, in nano-units for a million tokens, and where and when it was read."""

    name: str
    input_nano: int
    output_nano: int
    source: str
    as_of: str

    def cost(self, *, input_tokens: int, output_tokens: int) -> int:
        """Nano-units that these tokens would cost."""
        return tokens_cost(tokens=input_tokens, price=self.input_nano) + tokens_cost(
            tokens=output_tokens, price=self.output_nano
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceList:
    """Prices of models that others serve, all in one currency (ISO 4217)."""

    currency: str
    models: tuple[Listed, ...]


def read_price_list(text: str) -> PriceList:
    """The price list that a YAML (or JSON) text describes.

    Raises:
        PriceListError: it is no such list.
    """
    try:
        found = msgspec.convert(yaml.load(text, Loader=yaml.BaseLoader), _List)  # noqa: S506 - makes nothing but text
        models = tuple(
            Listed(
                name=item.name,
                input_nano=parse_amount(item.input),
                output_nano=parse_amount(item.output),
                source=item.source,
                as_of=item.as_of,
            )
            for item in found.models
        )
    except (yaml.YAMLError, msgspec.ValidationError, AmountError, RecursionError) as error:
        raise PriceListError(str(error)) from error
    names = [item.name for item in models]
    if len(set(names)) < len(names):
        raise PriceListError("a model is listed twice: give each a name of its own")
    return PriceList(currency=found.currency, models=models)


def hardware_cost(*, gpu_ms: int, gpu_hour_nano: int, cpu_milli_ms: int, cpu_hour_nano: int) -> int:
    """Nano-units that GPU time and CPU time cost at prices per hour; each rounded to the nearest, halves up."""
    gpu = (2 * gpu_ms * gpu_hour_nano + HOUR_MS) // (2 * HOUR_MS)
    cpu = (2 * cpu_milli_ms * cpu_hour_nano + 1000 * HOUR_MS) // (2000 * HOUR_MS)
    return gpu + cpu


def per_million(*, nano: int, tokens: int) -> int | None:
    """Nano-units for a million tokens; None where there was none."""
    return None if tokens <= 0 else (2 * nano * PER_TOKENS + tokens) // (2 * tokens)


def ratio(*, own_nano: int, listed_nano: int) -> float | None:
    """Own cost as a share of the listed one: 0.5 is half of it. None where the listed one is nothing."""
    return None if listed_nano <= 0 else own_nano / listed_nano
