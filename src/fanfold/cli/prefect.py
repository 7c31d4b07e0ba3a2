"""What becomes of each public name of Prefect: the table in prefect.toml, and its page.

`python -m fanfold.cli.prefect` writes MIGRATING.md from the table.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import cast

PAGE = Path(__file__).parent.parent / "MIGRATING.md"
_DATA = Path(__file__).parent / "prefect.toml"

_OBJECTS = frozenset({"fanfold.runtime.flow_run", "fanfold.runtime.task_run"})
"""What has attributes that people read, and nothing to be imported from."""

_INTRODUCTION = """# Moving from Prefect

What becomes of every public name and option of Prefect 3, and of the deployments of Prefect 2. For
most flows moving is a change of import, and

    fanfold migrate flows/            # shows what it would change
    fanfold migrate --write flows/    # changes it

makes it: imports and uses of `prefect`, `prefect_dask` and `prefect_ray` in Python files and
notebooks. Everything else stays as it is, byte for byte, and what it can't move it names by line.

| | |
|---|---|
| same | works as it is, under the name on the right |
| better | works, and does more or needs less than in Prefect |
| later | planned |
| refused | won't come; the note says what to do instead |

`flow(retries=)` is an option of `flow`; a name that ends in `*` stands for all that start so and
aren't listed themselves. This page is made from the table that `fanfold migrate` works by.
"""


class Fate(StrEnum):
    """What becomes of a name of Prefect."""

    SAME = "same"
    """Works as it is, under its place."""
    BETTER = "better"
    """Works, and does more or needs less."""
    LATER = "later"
    """Planned."""
    REFUSED = "refused"
    """Won't come; the row says what to do instead."""

    @property
    def works(self) -> bool:
        """Whether it is here now."""
        return self in (Fate.SAME, Fate.BETTER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What becomes of one name, or of all names that start with it."""

    name: str
    """As people import it; `prefect.flow(retries=)` is an option; a family ends in *."""
    fate: Fate
    place: str
    """Where it lives here, in the same notation; empty where it doesn't."""
    says: str
    """A sentence, or nothing."""

    @property
    def reach(self) -> int:
        """How much of a name it knows; of rows that match, the furthest reaching one counts."""
        return len(self.name.removesuffix("*"))


class Table:
    """All rows, by section, in the order of the file."""

    def __init__(self, sections: Mapping[str, tuple[Row, ...]]) -> None:
        self.sections = sections
        rows = [row for section in sections.values() for row in section]
        self._exact = {row.name: row for row in rows if not row.name.endswith("*")}
        families = [row for row in rows if row.name.endswith("*")]
        self._families = sorted(families, key=lambda row: -row.reach)
        self.modules = _modules(rows)
        """Ours that names are imported from."""

    def of(self, name: str) -> Row | None:
        """Return the row of a name: its own, else that of the family which reaches furthest."""
        return self._exact.get(name) or self._family(name)

    def of_chain(self, name: str) -> Row | None:
        """Return the row that says most of a dotted name, which may go beyond what has a row.

        `prefect.flow.with_options` has no row of its own, so the one of `prefect.flow` counts.
        """
        family, exact, rest = self._family(name), None, name
        while rest and exact is None:
            exact = self._exact.get(rest)
            rest = rest.rpartition(".")[0]
        found = [row for row in (exact, family) if row is not None]
        return max(found, key=lambda row: row.reach, default=None)

    def _family(self, name: str) -> Row | None:
        return next((r for r in self._families if name.startswith(r.name.removesuffix("*"))), None)


def _modules(rows: Sequence[Row]) -> frozenset[str]:
    """Return all modules among the places: what names are in, but for classes and run-time objects.

    It is told by the table alone, so that a rewrite doesn't depend on what is installed.
    """
    fronts = {row.place.partition("(")[0].rpartition(".")[0] for row in rows}
    return frozenset(front for front in fronts if front.islower() and front not in _OBJECTS)


@cache
def table() -> Table:
    """Return the table; read once."""
    data = cast(
        "dict[str, dict[str, tuple[str, str, str]]]", tomllib.loads(_DATA.read_text("utf-8"))
    )
    return Table(
        {
            section: tuple(
                Row(name=name, fate=Fate(fate), place=place, says=says)
                for name, (fate, place, says) in rows.items()
            )
            for section, rows in data.items()
        }
    )


def page() -> str:
    """Return MIGRATING.md as the table makes it."""
    lines = [_INTRODUCTION]
    for section, rows in table().sections.items():
        lines += [f"## {section}\n", "| Prefect | | here | note |", "|---|---|---|---|"]
        lines += [_line(row) for row in rows]
        lines.append("")
    return "\n".join(lines)


def _line(row: Row) -> str:
    place = f"`{row.place}`" if row.place else ""
    return f"| `{row.name}` | {row.fate.value} | {place} | {row.says} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"Wrote {PAGE}.")
