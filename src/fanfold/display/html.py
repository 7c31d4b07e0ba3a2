"""The pieces of HTML that notebooks show: styles are inline, and there are no scripts. Pure.

So what was shown stays as it is in a saved notebook, wherever that is opened. JupyterLab takes
`<style>`, `<svg>`, roles and CSS variables out of notebooks that it doesn't trust; nothing here
needs them to be understood. Colours are seen on light and on dark ground alike, and text has the
colour that the page gives it.
"""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

from fanfold.engine.recording.masking import mask
from fanfold.engine.tally import Counts

TEAL, BLUE, RED, MAGENTA = "#2a9d8f", "#5b8def", "#e5484d", "#c13a9b"
ORANGE, SLATE, AMBER = "#ef8a3c", "#8793a6", "#d3a01a"
PALE_TEAL, FAINT = "rgba(42,157,143,0.35)", "rgba(128,128,128,0.22)"
DIM = "opacity:0.7"

_LOGIN = re.compile(r"(?<=://)[^\s'\"<>/]*@")
"""Who logs in, and their password, in an address."""
_FRAME = "max-width:760px;margin:4px 0 4px 8px;line-height:1.45"
_BAR = (
    f"display:flex;height:8px;margin:3px 0;border-radius:4px;overflow:hidden;"
    f"background-color:{FAINT}"
)
_SQUARE = "display:inline-block;width:9px;height:9px;margin-right:5px;border-radius:2px"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a whole: so many, what they are called, and their colour."""

    count: int
    name: str
    colour: str

    @property
    def said(self) -> str:
        """Such as "1,200 completed"."""
        return f"{self.count:,} {self.name}"


def text(value: object) -> str:
    """Return text for HTML: nothing in it is markup, secrets and logins are masked."""
    return html.escape(masked(str(value)))


def masked(words: str) -> str:
    """Return a text without secrets, and its addresses without logins."""
    return _LOGIN.sub("***@", mask(words)) if "://" in words else mask(words)


def tag(name: str, style: str, *content: str, **attributes: str) -> str:
    """Return an element.

    Args:
        name: Of its tag.
        style: CSS.
        *content: HTML.
        **attributes: Their values as they are; an underscore in a name stands for a hyphen.
    """
    told = {"style": style, **attributes}
    written = "".join(
        f' {key.replace("_", "-")}="{html.escape(value)}"' for key, value in told.items() if value
    )
    return f"<{name}{written}>{''.join(content)}</{name}>"


def framed(*blocks: str) -> str:
    """Return blocks as one output of a cell; empty ones are left out."""
    return tag("div", _FRAME, *blocks)


def line(*content: str, style: str = "") -> str:
    """Return a line of text; nothing if it is empty."""
    return tag("div", style, *content) if any(content) else ""


def bar(parts: Sequence[Part], whole: int, said: str, columns: str = "") -> str:
    """Return a bar with a stretch for each part; the least of them can still be seen.

    Args:
        parts: From left to right.
        whole: What all of the bar stands for.
        said: For those who can't see it.
        columns: CSS of its own.
    """
    stretches = [
        tag(
            "div",
            f"width:{100 * part.count / whole:.2f}%;min-width:3px;background-color:{part.colour}",
            title=part.said,
        )
        for part in parts
        if part.count and whole
    ]
    return tag("div", _BAR + columns, *stretches, role="img", aria_label=said, title=said)


def legend(parts: Sequence[Part], *more: str) -> str:
    """Return what colours mean, with numbers; parts without any are left out.

    Args:
        parts: With colours.
        *more: Words without; empty ones are left out.
    """
    items = [
        tag("span", "white-space:nowrap", square(part.colour), tag("span", DIM, text(part.said)))
        for part in parts
        if part.count
    ]
    items += [tag("span", DIM, text(word)) for word in more if word]
    return line(" &ensp; ".join(items), style="font-size:85%")


def square(colour: str) -> str:
    """Return a small square in a colour."""
    return tag("span", f"{_SQUARE};background-color:{colour}")


def link(address: str, words: str) -> str:
    """Return a link; only the words where the address isn't one of a web page."""
    if not address.startswith(("http://", "https://")):
        return text(words)
    return tag("a", "", text(words), href=masked(address), target="_blank", rel="noopener")


def parts_of(counts: Counts, out: str = "unfinished") -> list[Part]:
    """Return what has become of elements, those with a value first; what is to do isn't among.

    Args:
        counts: How many are where.
        out: What those are called that were handed to workers.
    """
    bad = counts.failed + counts.crashed + counts.upstream_failed
    return [
        Part(max(0, counts.done - counts.cached - bad), "completed", TEAL),
        Part(counts.cached, "cached", BLUE),
        Part(counts.failed, "failed", RED),
        Part(counts.crashed, "crashed", MAGENTA),
        Part(counts.upstream_failed, "upstream failed", ORANGE),
        Part(counts.cancelled, "cancelled", SLATE),
        Part(counts.waiting, "to retry", AMBER),
        Part(counts.out, out, PALE_TEAL),
    ]
