"""Objects of which every field may be set, made from the schema of a custom resource."""

import random
import re
from typing import Any

WORDS = (
    "llama-3.2-1b-instruct", "chat", "a", "bf16", "int4-awq", "H100-80", "3g.40gb", "1g.5gb.me", "gpu.example.com",
    "paddock.dev/rack", "rack", "volcano", "sha256:" + "0a" * 32, "0123456789ab", "acc-1", "09:30",
    "http://10.0.0.1:8000", "Some words, and more of them.",
)  # fmt: skip
TIME = "2026-11-22T12:00:00Z"
MOST_ITEMS = 3


def filled(schema: dict[str, Any], chance: random.Random, *, often: float = 0.7) -> Any:
    """A value of a schema. What is not required is there as often as that. Rules across fields are not looked at: the
    API server refuses what breaks them."""
    if "enum" in schema:
        return chance.choice(schema["enum"])
    match schema.get("type"):
        case "object":
            return _object(schema, chance, often=often)
        case "array":
            return _array(schema, chance, often=often)
        case "boolean":
            return chance.random() < 0.5
        case "integer":
            least = int(schema.get("minimum", 0))
            return chance.choice((least, least + 1, int(schema.get("maximum", least + 1000)), 8))
        case "number":
            low = float(schema.get("minimum", 0.0))
            return chance.choice((low, float(schema.get("maximum", low + 1.0)), low + 0.5))
        case _:
            return _string(schema, chance)


def _object(schema: dict[str, Any], chance: random.Random, *, often: float) -> dict[str, Any]:
    required = schema.get("required", ())
    found = {
        name: filled(item, chance, often=often)
        for name, item in schema.get("properties", {}).items()
        if name in required or chance.random() < often
    }
    more = schema.get("additionalProperties")
    if isinstance(more, dict):
        found |= {f"key-{number}": filled(more, chance, often=often) for number in range(chance.randint(0, MOST_ITEMS))}
    return found


def _array(schema: dict[str, Any], chance: random.Random, *, often: float) -> list[Any]:
    keys = schema.get("x-kubernetes-list-map-keys", ())
    most = min(MOST_ITEMS, int(schema.get("maxItems", MOST_ITEMS)))
    found = [filled(schema["items"], chance, often=often) for _ in range(chance.randint(0, most))]
    if schema.get("x-kubernetes-list-type") == "set":
        return sorted(set(found))
    return list({tuple(item[key] for key in keys): item for item in found}.values()) if keys else found


def _string(schema: dict[str, Any], chance: random.Random) -> str:
    if schema.get("format") == "date-time":
        return TIME
    pattern, most = re.compile(schema.get("pattern", "")), int(schema.get("maxLength", 1000))
    fitting = [word for word in WORDS if len(word) <= most and pattern.search(word)]
    if not fitting:
        raise LookupError(f"no word of this list fits {pattern.pattern!r}: add one")
    return chance.choice(fitting)


def paths(schema: dict[str, Any], prefix: str = "") -> set[str]:
    """Every field that a schema has, as `spec.model.id`; `[]` stands for the items of a list."""
    found = set[str]()
    for name, item in schema.get("properties", {}).items():
        found |= {f"{prefix}{name}", *paths(item, f"{prefix}{name}.")}
    if "items" in schema:
        found |= paths(schema["items"], f"{prefix.removesuffix('.')}[].")
    return found


def leaves(value: Any, prefix: str = "") -> set[tuple[str, str]]:
    """Every value that an object holds, with the path of its field."""
    if isinstance(value, dict):
        return {leaf for name, item in value.items() for leaf in leaves(item, f"{prefix}.{name}" if prefix else name)}
    if isinstance(value, list):
        # Which item it was is said too: none may change its place.
        return {
            (path, f"{number}: {text}")
            for number, item in enumerate(value)
            for path, text in leaves(item, f"{prefix}[]")
        }
    # JSON has one kind of numbers.
    return {(prefix, repr(int(value) if isinstance(value, float) and value.is_integer() else value))}
