"""The table of Prefect's names: complete, without contradiction, and true of what is here."""

import inspect
import json
import re
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any, get_overloads

import click
import pytest

from fanfold.cli.__main__ import NOUNS
from fanfold.cli.prefect import PAGE, Fate, Row, page, table
from fanfold.engine import settings

NAMES = json.loads((Path(__file__).parent / "prefect_names.json").read_text())
ALL = sorted({name for part in NAMES.values() for name in part["names"]})
ROWS = [row for rows in table().sections.values() for row in rows]
PLACES = sorted({row.place for row in ROWS if row.place})


def looked_up(dotted: str) -> Any:
    """Return what a dotted name stands for."""
    parts = dotted.split(".")
    for count in range(len(parts), 0, -1):
        module = ".".join(parts[:count])
        try:
            found = import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module}.".startswith(f"{error.name}."):
                raise
            continue
        for part in parts[count:]:
            # What instances alone have is only annotated in the class.
            fields = getattr(found, "__annotations__", {})
            found = fields[part] if part in fields else getattr(found, part)
        return found
    raise ModuleNotFoundError(dotted)


def takes(called: Any, option: str) -> bool:
    """Return whether something takes an option by name, also as one of typed `**options`."""
    made = called.__init__ if inspect.isclass(called) else called
    signatures = map(inspect.signature, [called, *get_overloads(made)])
    for parameter in (each for signature in signatures for each in signature.parameters.values()):
        if parameter.name == option and parameter.kind is not parameter.POSITIONAL_ONLY:
            return True
        typed = getattr(parameter.annotation, "__args__", ())
        if any(option in getattr(kind, "__annotations__", {}) for kind in typed):
            return True
    return False


def is_there(place: str) -> bool:
    """Return whether a place of the table exists."""
    if place.startswith("FANFOLD_"):
        return place in {
            f"FANFOLD_{found.name.replace('.', '_').upper()}" for found in settings.found()
        }
    if " " in place:
        return is_a_command(place.split()[1:])
    dotted, _, option = place.partition("(")
    found = looked_up(dotted)
    if not option:
        return True
    return takes(found, option.removesuffix("=)"))


def is_a_command(words: list[str]) -> bool:
    """Return whether the command line has a command."""
    if words == ["--version"]:
        return True
    command: click.Command = import_module(NOUNS[words[0]][0]).command
    for word in words[1:]:
        assert isinstance(command, click.Group)
        command = command.commands[word]
    return True


def test_the_names_are_those_of_prefect_3_and_2() -> None:
    assert NAMES["3"]["versions"]["prefect"].startswith("3.9.")
    assert NAMES["2"]["versions"]["prefect"].startswith("2.")
    assert len(ALL) > 1500


def test_every_name_has_a_fate_that_somebody_wrote_for_it_or_its_family() -> None:
    # The families of whole packages are for names that the table never heard of.
    unheard = {"prefect.*", "prefect_*"}

    missing = [name for name in ALL if (row := table().of(name)) is None or row.name in unheard]

    assert missing == []


def test_no_name_has_two_fates() -> None:
    assert [name for name, count in Counter(row.name for row in ROWS).items() if count > 1] == []


def test_every_row_is_about_a_name_that_prefect_has() -> None:
    own = {row.name for row in ROWS if not row.name.endswith("*")}

    assert own - set(ALL) == set()


def test_a_row_says_where_a_name_is_or_why_it_is_not() -> None:
    def complete(row: Row) -> bool:
        sentence = re.fullmatch(r"([A-Z]|`|importlib).*[.]", row.says) is not None
        if row.fate.works:
            here = row.place.startswith(("fanfold", "FANFOLD_")) and not row.name.endswith("*")
            return here and (sentence or (not row.says and row.fate is Fate.SAME))
        return row.place == "" and sentence

    assert [row for row in ROWS if not complete(row)] == []


@pytest.mark.parametrize("place", PLACES)
def test_what_works_is_where_the_table_says(place: str) -> None:
    assert is_there(place)


def test_a_module_that_moved_answers_for_names_it_never_had() -> None:
    for row in ROWS:
        if row.place in table().modules and row.place == row.name.replace("prefect", "fanfold", 1):
            found = table().of_chain(f"{row.name}.no_such_name")
            assert found is not None
            assert not found.fate.works, row.name


def test_the_page_is_made_from_the_table() -> None:
    assert PAGE.read_text("utf-8") == page(), "python -m fanfold.cli.prefect writes it"


def test_a_row_of_its_own_comes_before_a_family_and_the_furthest_family_before_others() -> None:
    rows = table()

    assert rows.of("prefect.states.Completed").place == "fanfold.states.Completed"  # type: ignore[union-attr]
    assert rows.of("prefect.states.nothing").name == "prefect.states.*"  # type: ignore[union-attr]
    assert rows.of("prefect.nothing").name == "prefect.*"  # type: ignore[union-attr]
    assert rows.of("prefect_aws.S3Bucket").name == "prefect_*"  # type: ignore[union-attr]
    assert rows.of("numpy.array") is None
    assert rows.of_chain("prefect.flow.with_options").name == "prefect.flow"  # type: ignore[union-attr]
    assert rows.of_chain("prefect.events.emit_event").name == "prefect.events*"  # type: ignore[union-attr]
    assert rows.of_chain("numpy.array") is None
