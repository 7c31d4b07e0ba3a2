"""Pieces of HTML: whatever is in them, they are no markup but their own."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold.display.heat import ROW, SQUARES_MOST, heat_map
from fanfold.display.html import Part, bar, legend, link, parts_of, tag, text
from fanfold.display.tables import COLUMNS_MOST, ROWS_MOST, table
from fanfold.engine.tally import Counts
from fanfold.values.secrets import Secret
from fanfold.values.states import StateName


class Reader(HTMLParser):
    """Reads HTML, and sees that what is opened is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.said = ""
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.said += data


ANYTHING = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"))


@given(ANYTHING)
def test_text_comes_out_as_it_was_and_as_nothing_else(words: str) -> None:
    read = Reader(tag("div", "", text(words), title=words))

    assert [name for name, _ in read.tags] == ["div"]
    assert read.said == words
    assert (read.tags[0][1].get("title") or "") == words


def test_secrets_and_logins_are_masked() -> None:
    Secret("swordfish")

    assert "swordfish" not in text("a swordfish in here")
    assert text("tcp://me:pass@host:8786") == "tcp://***@host:8786"
    assert "pass" not in link("http://me:pass@host:8787/status", "dashboard")


@pytest.mark.parametrize("address", ["javascript:alert(1)", "data:text/html,x", "", "//host"])
def test_only_addresses_of_web_pages_are_links(address: str) -> None:
    assert link(address, "words") == "words"


def test_a_bar_shows_even_the_smallest_part_and_leaves_out_what_is_none() -> None:
    read = Reader(
        bar(
            [Part(999_999, "done", "#000"), Part(1, "bad", "#fff"), Part(0, "", "")],
            1_000_000,
            "said",
        )
    )

    styles = [str(attributes["style"]) for name, attributes in read.tags[1:] if name == "div"]
    assert len(styles) == 2
    assert "width:0.00%;min-width:3px" in styles[1]
    assert read.tags[0][1]["aria-label"] == "said"


def test_a_bar_of_nothing_is_empty() -> None:
    assert len(Reader(bar([Part(0, "done", "#000")], 0, "")).tags) == 1


def test_a_legend_names_what_is_there() -> None:
    counts = Counts(total=30, done=20, cached=5, failed=2, crashed=1, waiting=3, out=4, cancelled=6)

    said = Reader(legend(parts_of(counts, "with workers"), "2 retries", "")).said

    assert re.findall(r"[\d,]+ [a-z ]+[a-z]", said) == [
        *("12 completed", "5 cached", "2 failed", "1 crashed", "6 cancelled", "3 to retry"),
        *("4 with workers", "2 retries"),
    ]


@given(st.lists(st.sampled_from(list(StateName)), max_size=3 * ROW))
def test_a_heat_map_of_few_elements_has_a_square_for_each(states: list[StateName]) -> None:
    html = heat_map(bytes(states))

    read = Reader(html)
    widths = [int(width) for width in re.findall(r"width:(\d+)px;height:10px", html)]
    assert sum(widths) == 11 * len(states)
    assert ("no elements" in read.said) == (not states)
    counted = sum(int(number) for number in re.findall(r"(\d+) [a-z]", read.said))
    assert counted == len(states)


def test_a_heat_map_of_many_elements_shows_the_worst_of_neighbours_and_stays_small() -> None:
    codes = bytearray([StateName.COMPLETED]) * 1_000_000
    codes[123_456] = StateName.FAILED
    codes[123_457] = StateName.CRASHED
    codes[999_999] = StateName.PENDING

    html = heat_map(codes)

    assert 'title="123,000 to 123,999: crashed"' in html
    assert 'title="999,000 to 999,999: unfinished"' in html
    assert "999,997 completed" in html
    assert "a square is 1,000 elements" in html
    assert len(html) < 10_000


def test_a_heat_map_at_its_worst_is_bounded() -> None:
    codes = bytes([StateName.COMPLETED, StateName.FAILED]) * SQUARES_MOST

    assert len(heat_map(codes)) < 400_000
    assert len(heat_map(codes * 500)) < 400_000


def test_a_table_shows_its_first_rows_and_columns() -> None:
    rows = [{f"column {c}": r * c for c in range(20)} for r in range(100)]

    read = Reader(table(rows))

    assert sum(name == "tr" for name, _ in read.tags) == 1 + ROWS_MOST
    assert sum(name == "th" for name, _ in read.tags) == COLUMNS_MOST
    assert "20 of 100 rows, 12 of 20 columns" in read.said


def test_a_table_of_lists_and_of_odd_rows_is_shown_as_far_as_there_is_something() -> None:
    assert Reader(table([["a", 1], ["<b>"], 3])).said == "a1<b>"
    assert Reader(table([{"a": None}, {"b": 1_000}])).said == "ab1,000"
    assert Reader(table([])).said == ""
