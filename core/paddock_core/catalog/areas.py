"""Named areas of countries that licenses speak of. Codes are ISO 3166-1 alpha-2.

The European Union is not the European Economic Area, and neither holds the United Kingdom.
"""

_UNION = frozenset(
    {
        *("AT", "BE", "BG", "HR", "CY", "CZ", "DK", "EE", "FI", "FR", "DE", "GR", "HU", "IE"),
        *("IT", "LV", "LT", "LU", "MT", "NL", "PL", "PT", "RO", "SK", "SI", "ES", "SE"),
    }
)

AREAS: dict[str, frozenset[str]] = {"EU": _UNION, "EEA": _UNION | {"NO", "IS", "LI"}}


def countries(*, names: tuple[str, ...]) -> frozenset[str]:
    """The countries of these areas; a name that is no area is a country's own code."""
    return frozenset().union(*(AREAS.get(name, frozenset((name,))) for name in names))
