"""Who looks at maps: which of them run in this process now, and the thread that has them shown.

The engine says in one line each that a flow run begins or is over, and that a map does; that costs
a comparison where nothing is shown. A display, found by name through the registry, is asked from
a thread of its own, at first after `FIRST_LOOK_S`: a map that is over by then costs no look.
"""

import atexit
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from enum import StrEnum
from typing import Any, Protocol, TextIO
from weakref import ref

from fanfold.engine import registry, settings
from fanfold.engine.run import Run
from fanfold.engine.tally import NOTHING, Counts, First, count

FIRST_LOOK_S = 0.5
"""Shorter maps are never shown: a line that comes and goes at once is no news."""

logger = logging.getLogger("fanfold.engine")


class Mode(StrEnum):
    """How maps are shown."""

    OFF = "off"
    PLAIN = "plain"
    """Log lines, now and then: for files and pipes."""
    LIVE = "live"
    """Lines at the bottom of a terminal that change as things go on."""
    NOTEBOOK = "notebook"
    """An output of the notebook's cell that changes as things go on."""


DISPLAYS = {Mode.NOTEBOOK: "notebook"}
"""By mode; for all others "terminal"."""


class Watched:
    """One map run, or the runs that a streamed map is made of, as displays see it."""

    __slots__ = (
        *("_first", "_folded", "_owner", "_runs"),
        *("began", "ended", "name", "place", "streamed"),
    )

    def __init__(
        self, name: str, began: float, *, streamed: bool = False, place: Context | None = None
    ) -> None:
        self.name = name
        self.began = began
        """On the clock of `time.monotonic`, as `ended`, which is None while it runs."""
        self.ended: float | None = None
        self.streamed = streamed
        self.place = place
        """The context of the code that started it, where that says which cell it is of."""
        self._runs: dict[str, ref[Run]] = {}
        self._owner = 0
        self._folded = NOTHING
        self._first: First | None = None

    def add(self, run: Run) -> None:
        """Count a run in while it lives; nothing of it is kept alive by that."""
        self._runs[run.id] = ref(run)
        self._owner = id(run.owner)

    def of(self, owner: Any) -> bool:
        """Return whether its runs were started by this flow run, which goes on."""
        return self._owner == id(owner)

    def fold(self, run: Run) -> None:
        """Keep the numbers of a run that is over."""
        if self._runs.pop(run.id, None) is not None:
            self._folded += count(run, self._first)

    def runs(self) -> list[Run]:
        """Return the runs that aren't over, as far as somebody still holds them."""
        return [run for made in list(self._runs.values()) if (run := made()) is not None]

    @property
    def dashboard(self) -> str:
        """Address of its cluster's own web page; empty if there is none, or it is over."""
        return next((run.session.dashboard for run in self.runs()), "")

    @property
    def waits(self) -> str:
        """What keeps it from running on the workers there are, in words; empty if nothing does."""
        return next((what for run in self.runs() if (what := run.wait.what)), "")

    def counts(self) -> Counts:
        """Return how far it is; some 2 ms for a million elements. For any thread."""
        counted = self._folded
        for run in self.runs():
            counted += count(run, counted.first or self._first)
        self._first = counted.first
        if self.streamed and self.ended is None:
            return counted + Counts(total=None)
        return counted


class Display(Protocol):
    """Shows maps. Called by one thread at a time."""

    def prepare(self, mode: Mode) -> None:
        """Load what takes long; called once, by the display's own thread."""
        ...

    def look(
        self, running: Sequence[Watched], ended: Sequence[Watched], mode: Mode, now: float
    ) -> float:
        """Show what is to be shown now; return after how many seconds to be called again.

        Args:
            running: Maps that run, the oldest first.
            ended: Maps that are over; each is given once.
            mode: How to show them.
            now: On the clock of `time.monotonic`.
        """
        ...

    def close(self) -> None:
        """Leave the terminal as it was; idempotent."""
        ...


class Maps:
    """The maps that run now. Thread-safe.

    Args:
        load: Returns the display of a mode; asked at each look.
        clock: Returns seconds.
        by_itself: Whether a thread looks; else only who calls `look`.
    """

    def __init__(
        self,
        load: Callable[[Mode], Display] = lambda mode: display_of(mode),
        clock: Callable[[], float] = time.monotonic,
        *,
        by_itself: bool = True,
    ) -> None:
        self.mode = Mode.OFF
        self._load = load
        self._clock = clock
        self._by_itself = by_itself
        self._broken = False
        self._running: dict[str, Watched] = {}
        self._ended: deque[Watched] = deque()
        self._display: Display | None = None
        self._places: dict[str, Context] = {}
        self._asleep = False
        self._began = threading.Event()
        self._thread: threading.Thread | None = None
        self._looking = threading.Lock()
        self._starting = threading.Lock()

    def begin(self) -> None:
        """Decide how maps are shown from now on; called when a flow run begins."""
        self.mode = Mode.OFF if self._broken else chosen(settings.current().progress, sys.stderr)

    def place(self, run: Run) -> None:
        """Note which cell of a notebook starts a run; called by the code that does, before all."""
        if self.mode is Mode.NOTEBOOK:
            self._places[run.id] = copy_context()

    def watch(self, run: Run, stream: str = "") -> None:
        """Say that a map run starts; single calls are ignored.

        Args:
            run: The run.
            stream: Id of the streamed map that it is a part of, if it is.
        """
        place = self._places.pop(run.id, None)
        if self.mode is Mode.OFF or (run.count < 2 and not stream):
            return
        key = stream or run.id
        watched = self._running.get(key)
        if watched is None:
            watched = Watched(_name(run), self._clock(), streamed=bool(stream), place=place)
            self._running[key] = watched
        watched.add(run)
        if self._asleep or self._thread is None:
            self._wake()

    def unwatch(self, run: Run, stream: str = "") -> None:
        """Say that a run is over; a streamed map isn't by that."""
        if not self._running:
            return
        watched = self._running.get(stream or run.id)
        if watched is not None:
            if stream:
                watched.fold(run)
            else:
                self._end(run.id, watched, [run])

    def stream_over(self, stream: str) -> None:
        """Say that nothing more comes of a streamed map."""
        watched = self._running.get(stream)
        if watched is not None:
            self._end(stream, watched, watched.runs())

    def over(self, owner: Any) -> None:
        """Say that a flow run is over: what is to be said of its maps is said before it returns."""
        if not self._running and not self._ended:
            return
        for key, watched in list(self._running.items()):
            if watched.of(owner):
                self._end(key, watched, watched.runs())
        if self._ended:
            self.look()

    def look(self) -> float:
        """Have the maps shown now; return after how many seconds to look again."""
        with self._looking:
            running: list[Watched] = []
            for key, watched in list(self._running.items()):
                if watched.streamed or watched.runs():
                    running.append(watched)
                else:  # nobody holds the run any more, so it is of no interest either
                    self._running.pop(key, None)
            ended = [self._ended.popleft() for _ in range(len(self._ended))]
            if self.mode is Mode.OFF:
                self._running.clear()
                self._leave_screen()
                return FIRST_LOOK_S
            try:
                display = self._load(self.mode)
                if self._display is not display:
                    self._leave_screen()
                    self._display = display
                return display.look(running, ended, self.mode, self._clock())
            except Exception:  # told; what is shown must not harm what is done
                return self._break()

    def close(self) -> None:
        """Say what is to be said of all maps, and show none any more."""
        for key, watched in list(self._running.items()):
            self._end(key, watched, watched.runs())
        if self._ended:
            self.look()
        self.mode = Mode.OFF
        with self._looking:
            self._leave_screen()

    def _end(self, key: str, watched: Watched, runs: Sequence[Run]) -> None:
        if self._running.pop(key, None) is None:
            return
        now = self._clock()
        if now - watched.began < FIRST_LOOK_S:
            return
        for run in runs:
            watched.fold(run)
        watched.ended = now
        self._ended.append(watched)

    def _break(self) -> float:
        """Show nothing any more, and say why: what is being handled."""
        self._broken = True
        self.mode = Mode.OFF
        logger.warning("Maps aren't shown any more", exc_info=True)
        return FIRST_LOOK_S

    def _leave_screen(self) -> None:
        if self._display is not None:
            self._display.close()

    def _wake(self) -> None:
        if not self._by_itself:
            return
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._keep_looking, name="fanfold-display", daemon=True
                )
                self._thread.start()
                atexit.register(self.close)
                os.register_at_fork(after_in_child=self._forget)
        self._began.set()

    def _forget(self) -> None:
        """Start anew in a forked child: no thread is there, and a lock may be held for ever."""
        self.mode = Mode.OFF
        self._running.clear()
        self._ended.clear()
        self._display = None
        self._places.clear()
        self._asleep = False
        self._thread = None
        self._looking = threading.Lock()
        self._starting = threading.Lock()

    def _keep_looking(self) -> None:
        while True:
            self._asleep = True
            if not self._running and not self._ended:
                self._began.wait()
            self._began.clear()
            self._asleep = False
            time.sleep(FIRST_LOOK_S)
            if not self._running and not self._ended:
                continue
            if self._display is None:
                self._prepare()
            while self._running or self._ended:
                time.sleep(self.look())

    def _prepare(self) -> None:
        """Have the display load; outside of the lock, so no flow that is over waits for it."""
        if self.mode is Mode.OFF:
            return
        try:
            self._load(self.mode).prepare(self.mode)
        except Exception:  # told; what is shown must not harm what is done
            self._break()


def display_of(mode: Mode) -> Display:
    """Return the process's display for a mode."""
    return registry.display(DISPLAYS.get(mode, "terminal"))


def chosen(want: str, stream: TextIO | None) -> Mode:
    """Return how maps are shown.

    Args:
        want: "auto" is live on a terminal and in a notebook, and plain elsewhere; "on" is live even
            where nobody can tell that it is a terminal; "plain" and "off" are what they say.
        stream: Standard error; None where there is none.
    """
    if want == "off" or stream is None:
        return Mode.OFF
    if want in ("on", "auto") and in_notebook():
        return Mode.NOTEBOOK
    if want == "on" or (want == "auto" and is_terminal(stream)):
        return Mode.LIVE
    return Mode.PLAIN


def in_notebook() -> bool:
    """Return whether a kernel runs this process: of Jupyter, VS Code, Colab and the like."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether lines on a stream can be written anew: no pipe, no notebook, no editor."""
    if stream is None:
        return False
    if type(stream).__module__.startswith("ipykernel") or os.environ.get("TERM") == "dumb":
        return False
    try:
        return stream.isatty()
    except ValueError:  # it is closed
        return False


def _name(run: Run) -> str:
    return run.call.spec.info.of or run.name


_maps = Maps()
begin = _maps.begin
look = _maps.look
place = _maps.place
watch = _maps.watch
unwatch = _maps.unwatch
stream_over = _maps.stream_over
over = _maps.over
