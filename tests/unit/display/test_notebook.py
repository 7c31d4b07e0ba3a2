"""The display as a whole: real runs' columns in, a cell's output out."""

from collections.abc import Iterator
from contextvars import ContextVar, copy_context
from typing import Any

import IPython
import IPython.display
import pytest

from fanfold.display.notebook import MAPS_MOST, Notebook
from fanfold.engine.run import Run
from fanfold.engine.watching import Maps, Mode
from tests.unit.engine.runs_at_hand import done, failed, made

REQUEST: ContextVar[str] = ContextVar("request")


class Events:
    """IPython's, as far as displays register for them."""

    def __init__(self) -> None:
        self.registered: list[tuple[str, Any]] = []

    def register(self, name: str, function: Any) -> None:
        self.registered.append((name, function))


class Shell:
    """What a display asks a kernel's shell for; cells are told apart by a context variable."""

    def __init__(self) -> None:
        self.kernel = self
        self.events = Events()

    def get_parent(self) -> dict[str, Any]:
        return {"header": {"msg_id": REQUEST.get("")}}


class Outputs:
    """What was published: by cell, the bundles in order."""

    def __init__(self) -> None:
        self.of: dict[str, list[dict[str, str]]] = {}

    def display(self, shown: dict[str, str], *, raw: bool, display_id: bool) -> "Outputs":
        assert raw
        assert display_id
        self.of[REQUEST.get("")] = [shown]
        return self

    def update(self, shown: dict[str, str], *, raw: bool) -> None:
        self.of[REQUEST.get("")].append(shown)


class Kit:
    """Maps that are shown in a notebook, with the test's clock and no thread."""

    now = 100.0

    def __init__(self, outputs: Outputs) -> None:
        self.outputs = outputs
        self.display = Notebook()
        self.maps = Maps(lambda mode: self.display, lambda: self.now, by_itself=False)
        self.maps.mode = Mode.NOTEBOOK

    def map(self, name: str, count: int, request: str = "one") -> Run:
        run = made(name, count)
        run.id = f"{name}-{self.now}-{count}"
        token = REQUEST.set(request)
        self.maps.place(run)
        REQUEST.reset(token)
        self.maps.watch(run)
        return run

    def look(self, after_s: float = 0.0) -> float:
        self.now += after_s
        return self.maps.look()

    def shown(self, request: str = "one") -> dict[str, str]:
        return self.outputs.of[request][-1]


@pytest.fixture
def kit(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kit]:
    outputs = Outputs()
    monkeypatch.setattr(IPython.display, "display", outputs.display)
    monkeypatch.setattr(IPython, "get_ipython", lambda shell=Shell(): shell)  # noqa: B008
    yield Kit(outputs)


def test_a_running_map_has_a_bar_with_its_pace_and_what_failed_first(kit: Kit) -> None:
    run = kit.map("embed", 100)
    done(run, 0, 39)
    failed(run, 39, "no <b>such</b> day")

    kit.look(2.0)

    html = kit.shown()["text/html"]
    for part in (
        "<strong>embed</strong>",
        "40 of 100 (40 %)",
        "20/s, 0:03 left",
        "39 completed",
        "1 failed",
        "first failure: ValueError: no &lt;b&gt;such&lt;/b&gt; day, element 39",
        "as of ",
    ):
        assert part in html
    assert kit.shown()["text/plain"].startswith("embed: 40/100 (40 %), 20/s, 1 failed, ")


def test_what_a_running_map_waits_for_is_told(kit: Kit) -> None:
    run = kit.map("embed", 100)
    run.wait.lacks("no worker offers gpu; the cluster offers <cpu=2>", kit.now)

    kit.look(2.0)

    assert (
        "waits: no worker offers gpu; the cluster offers &lt;cpu=2&gt;"
        in (kit.shown()["text/html"])
    )


def test_short_maps_are_not_shown(kit: Kit) -> None:
    run = kit.map("embed", 100)

    kit.look(0.4)
    kit.maps.unwatch(run)
    kit.look(1.0)

    assert not kit.outputs.of


def test_once_it_is_over_its_summary_stays(kit: Kit) -> None:
    run = kit.map("embed", 100)
    kit.look(1.0)
    done(run, 0, 100)
    kit.now += 1.0
    kit.maps.unwatch(run)

    kit.look()
    kit.look(5.0)

    assert len(kit.outputs.of["one"]) == 2
    assert "in 2.0 s, 50/s" in kit.shown()["text/html"]
    assert "as of" not in kit.shown()["text/html"]
    assert kit.shown()["text/plain"] == "embed  100/100 in 2.0 s  50/s"


def test_a_map_whose_elements_are_all_final_is_over_though_nobody_said_so_yet(kit: Kit) -> None:
    run = kit.map("embed", 100)
    done(run, 0, 100)

    kit.look(2.0)
    kit.look(1.0)

    assert "in 2.0 s" in kit.shown()["text/plain"]


def test_what_was_stopped_says_so(kit: Kit) -> None:
    run = kit.map("embed", 100)
    done(run, 0, 10)
    run.owner = object()
    kit.maps.unwatch(run)
    run = kit.map("other", 100)
    run.owner = owner = object()
    kit.maps.watch(run)
    done(run, 0, 10)
    kit.now += 2.0

    kit.maps.over(owner)

    assert "stopped after 2.0 s" in kit.shown()["text/html"]


def test_updates_come_at_most_four_times_a_second_while_something_runs(kit: Kit) -> None:
    run = kit.map("embed", 100)

    waits = [kit.look(0.1) for _ in range(30)]

    assert run.left
    assert all(wait >= 0.25 for wait in waits)
    assert 9 <= len(kit.outputs.of["one"]) <= 11


def test_maps_of_a_cell_share_an_output_and_cells_have_their_own(kit: Kit) -> None:
    runs = kit.map("a", 10), kit.map("b", 10), kit.map("c", 10, "two")

    kit.look(1.0)

    assert [line.split(":")[0] for line in kit.shown()["text/plain"].splitlines()] == ["a", "b"]
    assert kit.shown("two")["text/plain"].startswith("c: ")
    assert all(run.left for run in runs)


def test_a_map_that_nobody_holds_any_more_is_no_longer_shown(kit: Kit) -> None:
    runs = [kit.map("kept", 10), kit.map("dropped", 10)]
    kit.look(1.0)

    runs.pop()
    kit.look(1.0)

    assert "dropped" not in kit.shown()["text/html"]
    assert "kept" in kit.shown()["text/html"]


def test_many_maps_of_one_cell_are_summed_up(kit: Kit) -> None:
    for number in range(MAPS_MOST + 5):
        run = kit.map(f"map{number}", 10)
        kit.now += 1.0
        done(run, 0, 10)
        kit.maps.unwatch(run)
        kit.look()

    lines = kit.shown()["text/plain"].splitlines()
    assert lines[0] == "5 earlier maps"
    assert lines[1].startswith("map5  10/10")
    assert len(lines) == 1 + MAPS_MOST
    assert "50 completed" in kit.shown()["text/html"]


def test_many_maps_at_the_same_time_do_not_all_have_a_bar(kit: Kit) -> None:
    runs = [kit.map(f"map{number}", 10) for number in range(MAPS_MOST + 5)]

    kit.look(1.0)

    assert kit.shown()["text/html"].count("<strong>") == MAPS_MOST
    assert "and 5 more maps that run" in kit.shown()["text/html"]
    assert len(runs) == MAPS_MOST + 5


def test_the_dashboard_of_the_cluster_is_linked_while_maps_run_on_it(kit: Kit) -> None:
    run = kit.map("embed", 10)
    stage: Any = run.session
    stage.dashboard = "http://127.0.0.1:8787/status"

    kit.look(1.0)

    assert 'href="http://127.0.0.1:8787/status"' in kit.shown()["text/html"]


def test_code_outside_of_cells_counts_to_the_latest(kit: Kit) -> None:
    run = made("embed", 10)
    copy_context().run(kit.maps.watch, run)

    kit.look(1.0)

    assert "embed" in kit.shown("")["text/html"]


def test_the_end_of_a_cell_is_asked_for(kit: Kit) -> None:
    kit.display.prepare(Mode.NOTEBOOK)

    shell: Any = IPython.get_ipython()
    assert [name for name, _ in shell.events.registered] == ["post_run_cell"]
