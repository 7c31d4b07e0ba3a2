"""How things that users hold look in a notebook: as cards, drawn by whoever can draw.

Values and adapters know no display, so the engine, which finds displays by name, says once who
draws. Where nobody does, a notebook shows the usual text.
"""

from collections.abc import Callable

Draw = Callable[[object], str | None]
"""Returns a thing as HTML, from what is at hand: blocks on nothing, and fetches no values."""

_draw: Draw | None = None


def drawn_by(draw: Draw) -> None:
    """Have all cards drawn by a function."""
    global _draw
    _draw = draw


class WithCard:
    """Something that notebooks show as a card."""

    __slots__ = ()

    def _repr_html_(self) -> str | None:
        return _draw(self) if _draw is not None else None
