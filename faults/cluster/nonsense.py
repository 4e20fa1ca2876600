"""What a schema allows and nobody means: every field at its bounds, odd letters, huge maps, values that contradict one
another."""

import random
import re
from collections.abc import Sequence
from typing import Any

Schema = dict[str, Any]
ODD = (
    "", " ", "x", "-", "..", "../..", "a/b", "0", "null", "true", "%s%n", "{{x}}", "$(x)", "é" * 7, "\u202eabc",
    "\u0000",
    "\U0001f999", "a\u0301", "\n", "\t|\\", "'\";--", "\ufeff", "𝔄", "ﬃ", "\u2028",
)  # fmt: skip
PLAIN = (
    "a", "a-b", "a.b", "z9", "rack", "volcano", "chat", "Exists", "Equal", "NoSchedule", "09:30", "23:59", "1g.5gb",
    "3g.40gb", "H100-80", "L40S-48", "paddock.dev/rack", "gpu.example.com", "Mon", "x" * 63, "0a" * 32,
    "sha256:" + "0a" * 32, "0123456789ab", "acc-1", "registry.test/a:1", "A", "a_b", "0" * 12, "1",
)  # fmt: skip
LONGEST = 300
"""Of what the schema leaves open: maps, lists and texts."""


class Nonsense:
    """Draws values of a schema. `words` are more that a text may be, where its pattern allows them."""

    def __init__(self, schema: Schema, *, words: Sequence[str] = ()) -> None:
        self._schema = schema
        self._words = (*PLAIN, *ODD, *words)
        self._fitting: dict[int, tuple[str, ...]] = {}

    def draw(self, chance: random.Random) -> Any:
        """A value. Rules across fields are not looked at. Raises LookupError for a text that no word here fits."""
        return self._of(self._schema, chance, chance.choice((0.1, 0.3, 0.6, 1.0)))

    def _of(self, schema: Schema, chance: random.Random, often: float) -> Any:
        if "enum" in schema:
            return chance.choice(schema["enum"])
        match schema.get("type"):
            case "object":
                return self._object(schema, chance, often)
            case "array":
                return self._array(schema, chance, often)
            case "boolean":
                return chance.random() < 0.5
            case "integer" | "number":
                return _number(schema, chance)
            case _:
                return chance.choice(self._texts(schema))

    def _object(self, schema: Schema, chance: random.Random, often: float) -> dict[str, Any]:
        required = schema.get("required", ())
        found = {
            name: self._of(below, chance, often)
            for name, below in schema.get("properties", {}).items()
            if name in required or chance.random() < often
        }
        more = schema.get("additionalProperties")
        if isinstance(more, dict):
            size = chance.choice((0, 1, 2, min(LONGEST, int(schema.get("maxProperties", LONGEST)))))
            keys = (chance.choice(self._words) if chance.random() < 0.2 else f"key-{number}" for number in range(size))
            found |= {key: self._of(more, chance, often) for key in keys}
        return found

    def _array(self, schema: Schema, chance: random.Random, often: float) -> list[Any]:
        least, most = int(schema.get("minItems", 0)), min(LONGEST, int(schema.get("maxItems", LONGEST)))
        size = chance.choice((least, min(least + 1, most), min(least + 2, most), most))
        found = [self._of(schema["items"], chance, often) for _ in range(size)]
        keys = schema.get("x-kubernetes-list-map-keys", ())
        if schema.get("x-kubernetes-list-type") == "set":
            return list(dict.fromkeys(found))
        return list({tuple(item.get(key) for key in keys): item for item in found}.values()) if keys else found

    def _texts(self, schema: Schema) -> tuple[str, ...]:
        """All words that the schema allows, and those of its greatest and its least length."""
        if id(schema) in self._fitting:
            return self._fitting[id(schema)]
        if schema.get("format") == "date-time":
            return ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2026-11-22T12:00:00.000001+14:00")
        least, most = int(schema.get("minLength", 0)), int(schema.get("maxLength", LONGEST))
        sized = [letter * length for letter in "a0ü🦙" for length in (least, most)]
        pattern = re.compile(re.sub(r"(?<!\\)\$", r"\\Z", schema.get("pattern", "")))
        words = (*self._words, *sized)
        found = tuple(word for word in dict.fromkeys(words) if least <= len(word) <= most and pattern.search(word))
        if not found:
            raise LookupError(f"no word here fits {pattern.pattern!r}: add one")
        self._fitting[id(schema)] = found
        return found


def _number(schema: Schema, chance: random.Random) -> float:
    largest = 2**31 - 1 if schema.get("format") == "int32" else 2**63 - 1
    least, most = schema.get("minimum", -largest), schema.get("maximum", largest)
    inside = [value for value in (0, 1, 2, 3, 4, 7, 8, 64) if least <= value <= most]
    number: float = chance.choice((least, most, *inside))
    return number
