"""Shows maps in notebooks: one output for all maps of a cell, which changes as things go on.

Each map belongs to the cell whose code started it, also when that cell is over and another one
runs: what is shown is published in the context that the code had, by which the kernel tells cells
apart. What is there at the end stays in the saved notebook.
"""

import time
from collections.abc import Collection, Sequence
from contextvars import Context
from typing import Any

from fanfold.display.html import (
    DIM,
    RED,
    bar,
    framed,
    legend,
    line,
    link,
    parts_of,
    tag,
    text,
)
from fanfold.display.terminal import SHARE_OF_A_CORE, Line
from fanfold.display.text import clock, final_line, joined, plain_line, rate, retried
from fanfold.engine.tally import NOTHING, Counts, share, span
from fanfold.engine.watching import FIRST_LOOK_S, Mode, Watched, look
from fanfold.values.times import now_us

EVERY_S = 0.25
"""At most four updates a second: a browser draws the whole output anew each time."""
MAPS_MOST = 12
"""Of a cell that are shown one by one; those that were over first are summed up."""
CELLS_KEPT = 4
"""That nothing runs in; one that was left for so many others isn't added to any more."""

_BLOCK = "margin:6px 0"


class Row(Line):
    """What is remembered of one map from look to look, and whether it is over."""

    __slots__ = ("over", "took_s")

    def __init__(self, watched: Watched) -> None:
        super().__init__(watched)
        self.over = False
        """All elements are final, or nobody waits for the others any more."""
        self.took_s = 0.0

    def look(self, now: float) -> None:
        """Take the numbers anew."""
        super().look(now)
        counts, ended = self.counts, self.watched.ended
        if not self.over:
            self.took_s = (now if ended is None else ended) - self.watched.began
        final = counts.total is not None and counts.done + counts.cancelled >= counts.total
        self.over = ended is not None or final


class Cell:
    """The output of one cell. Called by one thread at a time."""

    def __init__(self, place: Context | None) -> None:
        self._place = place
        self._rows: dict[Watched, Row] = {}
        self._folded = NOTHING
        self._hidden = 0
        self._handle: Any = None
        self._shown_at = 0.0
        self._changed = False

    @property
    def busy(self) -> bool:
        """Whether maps of it run that it shows."""
        return any(not row.over for row in self._rows.values())

    def look(self, watched: Watched, now: float) -> None:
        """Take in how far a map is."""
        row = self._rows.get(watched)
        if row is None:
            row = self._rows[watched] = Row(watched)
        if not row.over:
            row.look(now)
            self._changed = True

    def keep(self, there: Collection[Watched]) -> None:
        """Forget maps that are over without a word: nobody held them any more."""
        gone = [one for one, row in self._rows.items() if not row.over and one not in there]
        for watched in gone:
            del self._rows[watched]
        self._changed = self._changed or bool(gone)

    def show(self, now: float, *, at_once: bool) -> None:
        """Show what has changed; not if that was done just now and somebody will come again."""
        early = self.busy and now - self._shown_at < EVERY_S
        if not self._changed or (early and not at_once):
            return
        self._fold()
        self._changed = False
        self._shown_at = now
        self._publish({"text/html": self._html(), "text/plain": self._text()})

    def _fold(self) -> None:
        """Sum up the oldest maps that are over, where there are too many."""
        over = [watched for watched, row in self._rows.items() if row.over]
        for watched in over[: max(0, len(self._rows) - MAPS_MOST)]:
            self._folded += self._rows.pop(watched).counts
            self._hidden += 1

    def _publish(self, shown: dict[str, str]) -> None:
        from IPython.display import display  # only notebooks have it

        run = self._place.run if self._place is not None else Context().run
        if self._handle is None:
            self._handle = run(display, shown, raw=True, display_id=True)
        else:
            run(self._handle.update, shown, raw=True)

    def _html(self) -> str:
        rows = list(self._rows.values())[:MAPS_MOST]
        blocks = [map_html(row) for row in rows]
        if self._hidden:
            told = line(text(self._earlier()), legend(parts_of(self._folded)), style=_BLOCK)
            blocks = [told, *blocks]
        if len(self._rows) > len(rows):
            blocks.append(line(f"and {len(self._rows) - len(rows):,} more maps that run"))
        if self.busy:
            blocks.append(self._now())
        return framed(*blocks)

    def _text(self) -> str:
        told = [self._earlier()] if self._hidden else []
        for watched, row in list(self._rows.items())[:MAPS_MOST]:
            if row.over:
                told.append(joined(final_line(watched.name, row.counts, row.took_s)))
            else:
                told.append(plain_line(watched.name, row.counts, row.pace, row.waits))
        return "\n".join(told)

    def _earlier(self) -> str:
        return f"{self._hidden:,} earlier map{'s' if self._hidden > 1 else ''}"

    def _now(self) -> str:
        """Return what holds only while maps run: the time, and where to look at their cluster."""
        running = [watched for watched, row in self._rows.items() if not row.over]
        pages = sorted({page for watched in running if (page := watched.dashboard)})
        links = [link(page, "dashboard of the cluster") for page in pages]
        clock_time = time.strftime("as of %H:%M:%S", time.localtime(now_us() / 1e6))
        return line(" &ensp; ".join([clock_time, *links]), style=f"font-size:85%;{DIM}")


class Notebook:
    """The display of a kernel. Called by one thread at a time."""

    def __init__(self) -> None:
        self._cells: dict[str, Cell] = {}
        self._of: dict[Watched, Cell] = {}
        self._at_once = False

    def prepare(self, mode: Mode) -> None:
        """Have all shown when a cell ends: what comes later isn't in every saved notebook."""
        from IPython import get_ipython  # only notebooks have it

        shell: Any = get_ipython()
        shell.events.register("post_run_cell", self._show_at_once)

    def look(
        self, running: Sequence[Watched], ended: Sequence[Watched], mode: Mode, now: float
    ) -> float:
        """Show maps; return after how many seconds to look again."""
        started = time.thread_time()
        shown = [one for one in running if now - one.began >= FIRST_LOOK_S]
        shown += ended
        for cell in self._cells.values():
            cell.keep(shown)
        for watched in shown:
            self._cell(watched).look(watched, now)
        for cell in self._cells.values():
            cell.show(now, at_once=self._at_once)
        self._of = {watched: cell for watched, cell in self._of.items() if watched in running}
        return max(EVERY_S, (time.thread_time() - started) / SHARE_OF_A_CORE)

    def close(self) -> None:
        """Leave the outputs as they are."""

    def _show_at_once(self, result: object) -> None:
        self._at_once = True
        look()
        self._at_once = False

    def _cell(self, watched: Watched) -> Cell:
        cell = self._of.get(watched)
        if cell is None:
            key = cell_key(watched.place)
            cell = self._cells.get(key)
            if cell is None:
                self._let_go()
                cell = self._cells[key] = Cell(watched.place)
            self._of[watched] = cell
        return cell

    def _let_go(self) -> None:
        idle = [key for key, cell in self._cells.items() if not cell.busy]
        for key in idle[: max(0, len(idle) - CELLS_KEPT)]:
            del self._cells[key]


def cell_key(place: Context | None) -> str:
    """Return what tells the cell apart that code with such a context belongs to.

    It is the id of the request by which the cell runs; code of no cell, such as that of threads,
    counts to the cell that was run last.
    """
    from IPython import get_ipython  # only notebooks have it

    kernel: Any = getattr(get_ipython(), "kernel", None)
    if kernel is None:
        return ""
    parent = kernel.get_parent() if place is None else place.run(kernel.get_parent)
    return str(parent.get("header", {}).get("msg_id", ""))


def map_html(row: Row) -> str:
    """Return a map: its name and numbers, its bar, what the colours mean, its first failure."""
    name, counts = row.watched.name, row.counts
    parts = parts_of(counts, "unfinished" if row.over else "with workers")
    whole = sum(part.count for part in parts) if counts.total is None else counts.total
    numbers = _numbers(counts)
    head = tag(
        "div",
        "display:flex;justify-content:space-between",
        tag("div", "", tag("strong", "", text(name)), f" &ensp; {text(numbers)}"),
        tag("div", DIM, text(_took(row) if row.over else _pace(row))),
    )
    first = text(f"first failure: {counts.first}") if counts.first else ""
    waits = text(f"waits: {row.waits}") if row.waits and not row.over else ""
    return tag(
        "div",
        _BLOCK,
        head,
        bar(parts, whole, f"{name}: {numbers}"),
        legend(parts, retried(counts.retries)),
        line(waits, style="font-size:85%"),
        line(first, style=f"font-size:85%;color:{RED}"),
    )


def _numbers(counts: Counts) -> str:
    if counts.total is None:
        return f"{counts.done:,} done"
    return f"{counts.done:,} of {counts.total:,} ({share(counts.done, counts.total)})"


def _pace(row: Row) -> str:
    left_s = row.pace.left_s(row.counts)
    left = f"{clock(left_s)} left" if left_s is not None else ""
    return ", ".join(part for part in (rate(row.pace.per_s), left) if part)


def _took(row: Row) -> str:
    counts = row.counts
    stopped = counts.total is not None and counts.done < counts.total
    told = f"{'stopped after' if stopped else 'in'} {span(row.took_s)}"
    per_s = rate(counts.done / row.took_s) if row.took_s else ""
    return f"{told}, {per_s}" if per_s else told
