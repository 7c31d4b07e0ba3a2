"""Tables fit the terminal, and no cell breaks them."""

from io import StringIO

import hypothesis
import hypothesis.strategies as st
from rich.cells import cell_len
from rich.console import Console

from fanfold.cli.tables import Cell, Column, Facts, Lines, Table, plain, print_on, widths

COLUMNS = 80
HOSTILE = ("two\nlines", "a\ttab", "[red]markup[/red] [/]", "\x1b[31mred\x1b[2J", "漢字" * 60, "")


def shown(block: Table | Facts | Lines) -> list[str]:
    told = StringIO()
    console = Console(file=told, width=COLUMNS, highlight=False, emoji=False, markup=False)
    print_on(console, block)
    return told.getvalue().splitlines()


@hypothesis.given(
    st.lists(st.tuples(st.integers(0, 200), st.booleans()), min_size=1, max_size=9),
    st.integers(20, 200),
)
def test_columns_are_as_wide_as_they_can_be(wanted: list[tuple[int, bool]], room: int) -> None:
    natural = [width for width, _ in wanted]
    columns = [Column(title="", whole=whole) for _, whole in wanted]

    found = widths(natural, columns, room, gap=0)

    assert all(given <= width for given, width in zip(found, natural, strict=True))
    least = sum(min(1, width) for width in natural)
    assert sum(found) == min(sum(natural), max(room, least))
    least_of_soft = sum(
        width if c.whole else min(width, 6) for width, c in zip(natural, columns, strict=True)
    )
    if least_of_soft <= room:
        assert all(w == n for w, n, c in zip(found, natural, columns, strict=True) if c.whole)


def test_a_row_is_a_line_of_a_terminal_whatever_is_in_it() -> None:
    columns = [Column(title="Id", whole=True), "Name", "Flow"]
    rows = [["019a1b2c3d4e", text, text] for text in HOSTILE]

    lines = shown(Table(columns=columns, rows=rows))

    assert len(lines) == 1 + len(rows)
    assert all(cell_len(line) <= COLUMNS for line in lines)
    assert all(line.startswith("019a1b2c3d4e  ") for line in lines[1:])
    assert "[red]markup[/red] [/]" in lines[3]
    assert "\x1b" not in "".join(lines)


def test_a_row_is_a_line_of_a_pipe_whatever_is_in_it() -> None:
    lines = plain(Table(columns=["Name", "Count"], rows=[[text, 1_000] for text in HOSTILE]))

    assert [line.count("\t") for line in lines] == [1] * len(HOSTILE)
    assert all(line.removesuffix("\t1000").isprintable() for line in lines)


def test_what_folds_goes_on_below_and_loses_nothing() -> None:
    message = "word " * 60

    lines = shown(Table(columns=["Task", Column(title="Why", fold=True)], rows=[["a", message]]))

    assert all(len(line) <= COLUMNS for line in lines)
    assert "".join(lines).count("word") == 60


def test_numbers_have_separators_on_a_terminal_alone() -> None:
    table = Table(columns=[Column(title="Count", right=True)], rows=[[1_234_567]])

    assert shown(table)[1].strip() == "1,234,567"
    assert plain(table) == ["1234567"]


def test_facts_without_anything_to_say_are_left_out() -> None:
    facts = Facts(facts=[("Name", "otter"), ("Tags", ""), ("Began", Cell("now", piped="12:00"))])

    assert plain(facts) == ["Name\totter", "Began\t12:00"]
    assert [line.split() for line in shown(facts)] == [["Name", "otter"], ["Began", "now"]]


def test_a_text_keeps_its_lines_even_where_they_are_longer_than_the_terminal() -> None:
    text = Lines(text="Traceback:\n" + "x" * 200, heading="Why")

    assert shown(text) == ["Why", "Traceback:", "x" * 200]
    assert plain(text) == ["Why", "Traceback:", "x" * 200]
