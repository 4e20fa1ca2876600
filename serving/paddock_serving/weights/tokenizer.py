"""The tokenizer document of a checkpoint, from the model's own files."""

import json
from pathlib import Path
from typing import Any, Final

from paddock_core.serving.tokenizer_document import TokenizerDocument

from paddock_serving.errors import TokenizerError

_PROBE: Final = "a"


def read_tokenizer(folder: Path) -> TokenizerDocument:
    """Read a GGUF file's metadata, or a repository's `tokenizer.json` and its companions.

    Raises TokenizerError if the folder holds neither, or one that this version cannot translate exactly.
    """
    gguf_files = sorted(folder.glob("*.gguf"))
    if gguf_files:
        from paddock_serving.weights.gguf_tokenizer import read_gguf

        return read_gguf(gguf_files[0])
    if (folder / "tokenizer.json").is_file():
        return _read_repository(folder)
    raise TokenizerError(f"{folder} holds neither a GGUF file nor a tokenizer.json: add one to the checkpoint")


def _read_repository(folder: Path) -> TokenizerDocument:
    from tokenizers import Tokenizer

    text = (folder / "tokenizer.json").read_text(encoding="utf-8")
    config = _json(folder / "tokenizer_config.json")
    tokenizer = Tokenizer.from_str(text)
    bos, eos = _token(config.get("bos_token")), _token(config.get("eos_token"))
    ends = _json(folder / "generation_config.json").get("eos_token_id", [])
    stops = [tokenizer.id_to_token(token) for token in (ends if isinstance(ends, list) else [ends])]
    # What the tokenizer itself puts before a plain text says whether the model was trained with it.
    first = tokenizer.encode(_PROBE).tokens[:1]
    return TokenizerDocument(
        tokenizer=text,
        chat_template=_chat_template(folder, config),
        bos_token=bos,
        eos_token=eos,
        stop_tokens=tuple(dict.fromkeys(token for token in [eos, *stops] if token)),
        add_bos=bos is not None and first == [bos],
    )


def _chat_template(folder: Path, config: dict[str, Any]) -> str:
    own_file = folder / "chat_template.jinja"
    if own_file.is_file():
        return own_file.read_text(encoding="utf-8")
    template = config.get("chat_template", "")
    if isinstance(template, list):
        named = {entry["name"]: entry["template"] for entry in template}
        template = named.get("default", "")
    return str(template)


def _token(value: Any) -> str | None:
    if isinstance(value, dict):
        return str(value["content"])
    return None if value is None else str(value)


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    document = json.loads(path.read_text(encoding="utf-8"))
    return document if isinstance(document, dict) else {}
