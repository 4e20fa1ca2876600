"""From Triton's tensors to a Generation, and from a Part to Triton's tensors.

Triton hands us numpy arrays; this module sees only those, so that it needs no Triton to be imported.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from paddock_core.serving import contract

from paddock_serving.engines.base import Generation
from paddock_serving.errors import InvalidRequestError
from paddock_serving.tracking import Part

Tensors = Mapping[str, Any]
"""Name of an input tensor to its numpy array."""
INPUTS: Final = (
    contract.INPUT_IDS,
    contract.TEXT_INPUT,
    contract.STREAMING,
    contract.STOP,
    contract.MAX_TOKENS,
    contract.TOP_K,
    contract.TEMPERATURE,
    contract.TOP_P,
    contract.FREQUENCY_PENALTY,
    contract.PRESENCE_PENALTY,
    contract.SEED,
    contract.STOP_WORDS,
)
_MAX_STOP_WORDS: Final = 16


def read_flag(tensors: Tensors, name: str) -> bool:
    """A BOOL tensor of one element; absent means false."""
    return bool(_scalar(tensors, name, bool, default=False))


def read_generation(*, tensors: Tensors, id: str, context_length: int) -> Generation:  # noqa: A002
    """Read a request. Raises InvalidRequestError with the tensor's name if one makes no sense."""
    ids, text = _prompt(tensors, context_length=context_length)
    max_tokens = _scalar(tensors, contract.MAX_TOKENS, int, default=None)
    if max_tokens is not None and max_tokens < 1:
        raise InvalidRequestError(f"{contract.MAX_TOKENS} is {max_tokens}; it must be at least 1")
    seed = _scalar(tensors, contract.SEED, int, default=None)
    return Generation(
        id=id,
        prompt_ids=ids,
        prompt_text=text,
        max_tokens=max_tokens,
        temperature=_bounded(tensors, contract.TEMPERATURE, default=1.0, low=0.0, high=100.0),
        top_p=_bounded(tensors, contract.TOP_P, default=1.0, low=0.0, high=1.0),
        top_k=int(_bounded(tensors, contract.TOP_K, default=0, low=0, high=1 << 30)),
        frequency_penalty=_bounded(tensors, contract.FREQUENCY_PENALTY, default=0.0, low=-2.0, high=2.0),
        presence_penalty=_bounded(tensors, contract.PRESENCE_PENALTY, default=0.0, low=-2.0, high=2.0),
        # llama.cpp takes 32 bits, of which all ones means "choose one".
        seed=None if seed is None else seed % 0xFFFF_FFFF,
        stop=_stop_words(tensors),
    )


def write_part(part: Part) -> dict[str, Any]:
    """Name of an output tensor to its numpy array."""
    arrays: dict[str, Any] = {
        contract.TEXT_OUTPUT: np.array([part.text.encode("utf-8")], dtype=np.object_),
        contract.NUM_INPUT_TOKENS: np.array([part.input_tokens], dtype=np.int32),
        contract.NUM_OUTPUT_TOKENS: np.array([part.output_tokens], dtype=np.int32),
    }
    if part.reason is not None:
        arrays[contract.FINISH_REASON] = np.array([part.reason.encode()], dtype=np.object_)
    return arrays


def _prompt(tensors: Tensors, *, context_length: int) -> tuple[tuple[int, ...] | None, str | None]:
    ids, text = tensors.get(contract.INPUT_IDS), tensors.get(contract.TEXT_INPUT)
    if (ids is None) == (text is None):
        raise InvalidRequestError(f"give exactly one of {contract.INPUT_IDS} and {contract.TEXT_INPUT}")
    if ids is None:
        prompt = _text(_only(text, contract.TEXT_INPUT), contract.TEXT_INPUT)
        if not prompt:
            raise InvalidRequestError(f"{contract.TEXT_INPUT} is empty; a prompt has at least one token")
        return None, prompt
    if ids.size == 0:
        raise InvalidRequestError(f"{contract.INPUT_IDS} is empty; a prompt has at least one token")
    if ids.size >= context_length:
        raise InvalidRequestError(f"the prompt has {ids.size} tokens, the context with the answer {context_length}")
    return tuple(int(token) for token in ids.reshape(-1)), None


def _stop_words(tensors: Tensors) -> tuple[str, ...]:
    array = tensors.get(contract.STOP_WORDS)
    if array is None:
        return ()
    words = tuple(_text(word, contract.STOP_WORDS) for word in array.reshape(-1))
    if len(words) > _MAX_STOP_WORDS:
        raise InvalidRequestError(f"{contract.STOP_WORDS} has {len(words)} words; at most {_MAX_STOP_WORDS} are taken")
    return tuple(word for word in words if word)


def _bounded(tensors: Tensors, name: str, *, default: float, low: float, high: float) -> float:
    value = float(_scalar(tensors, name, float, default=default))
    if not low <= value <= high:
        raise InvalidRequestError(f"{name} is {value}; it must be between {low} and {high}")
    return value


def _scalar(tensors: Tensors, name: str, kind: Callable[[Any], Any], *, default: Any) -> Any:
    array = tensors.get(name)
    return default if array is None else kind(_only(array, name))


def _only(array: Any, name: str) -> Any:
    if array.size != 1:
        raise InvalidRequestError(f"{name} has {array.size} elements; exactly one is wanted")
    return array.reshape(-1)[0]


def _text(value: Any, name: str) -> str:
    try:
        return value.decode("utf-8") if isinstance(value, bytes) else str(value)
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"{name} is not UTF-8: {error}") from error
