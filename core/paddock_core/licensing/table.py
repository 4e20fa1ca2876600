"""The licenses of a catalogue as a Markdown table, for the documentation."""

from paddock_core.catalog.loader import Catalog
from paddock_core.catalog.types import Clause, LicenseEntry

_NONE = "-"
_ATTRIBUTION_INTRODUCTION = (
    "What the licenses of the models ask to be displayed on a website, in a user interface or in documentation, and",
    "the text of the notice that goes with each copy. The control plane shows the same under `/console/models`. Made",
    "from the catalogue by `paddock license attribution`; a test compares.",
)
COLUMNS = ("license", "dated", "users counted in", "name begins with", "shown", "outputs train", "not for", "models")


def license_table(catalog: Catalog) -> str:
    """One row a license, in the order of their dates."""
    entries = sorted(catalog.licenses.values(), key=lambda entry: (entry.dated, entry.id))
    rows = [_row(catalog, entry) for entry in entries]
    lines = [COLUMNS, tuple("---" for _ in COLUMNS), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def attribution_page(catalog: Catalog) -> str:
    """A Markdown page of what each license asks to be displayed, and of its notice, where it has either."""
    lines = ["# Attribution", *_ATTRIBUTION_INTRODUCTION, ""]
    for entry in sorted(catalog.licenses.values(), key=lambda entry: (entry.dated, entry.id)):
        shown = _of(entry, "display", "text")
        if shown == _NONE and not entry.notice:
            continue
        models = ", ".join(sorted(model.title for model in catalog.models.values() if entry.id in model.licenses))
        lines += [f"## {entry.title}", f"For {models or 'no model of the catalogue'}.", ""]
        lines += [f"> **{shown}**", ""] if shown != _NONE else []
        lines += [f"Notice: {entry.notice}", ""] if entry.notice else []
    return "\n".join(lines).rstrip() + "\n"


def _row(catalog: Catalog, entry: LicenseEntry) -> tuple[str, ...]:
    models = sorted(model.id for model in catalog.models.values() if entry.id in model.licenses)
    return (
        f"`{entry.id}`",
        entry.dated,
        _of(entry, "scale_threshold", "window"),
        _of(entry, "model_name_prefix", "prefix"),
        _of(entry, "display", "text"),
        _outputs(entry),
        _not_for(entry),
        ", ".join(models) or _NONE,
    )


def _clauses(entry: LicenseEntry, kind: str) -> list[Clause]:
    return [clause for clause in entry.clauses if clause.type == kind]


def _of(entry: LicenseEntry, kind: str, param: str) -> str:
    return "; ".join(str(clause.params[param]) for clause in _clauses(entry, kind)) or _NONE


def _outputs(entry: LicenseEntry) -> str:
    bans = _clauses(entry, "output_training")
    if bans:
        return "; ".join(f"only {clause.params.get('except_family', 'nothing')}" for clause in bans)
    carried = [clause.id for clause in entry.clauses if "outputs" in clause.params.get("inputs", ())]
    return f"any, with {', '.join(carried)}" if carried else "any"


def _not_for(entry: LicenseEntry) -> str:
    found = [f"other than {', '.join(clause.params['allowed'])}" for clause in _clauses(entry, "purpose")]
    found += ["hosting others" for _ in _clauses(entry, "hosting")]
    found += [_territory(clause) for clause in _clauses(entry, "territory")]
    return "; ".join(found) or _NONE


def _territory(clause: Clause) -> str:
    seen = clause.params.get("when", {}).get("modality", ())
    return ", ".join(clause.params["not_in"]) + (f", where a model sees {', '.join(seen)}s" if seen else "")
