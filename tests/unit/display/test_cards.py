"""What notebooks show of the things that users hold."""

import json
import pickle
from collections.abc import Iterator
from typing import Any

import pytest

from fanfold import Secret, State, flow, task
from fanfold.artifacts import ArtifactId
from fanfold.caching import INPUTS
from fanfold.display.cards import card
from fanfold.engine import flow as flows
from fanfold.engine import keys
from fanfold.engine.futures import FutureList, MapFuture, TaskFuture
from fanfold.task_runners import ProcessTaskRunner, ThreadPoolTaskRunner
from fanfold.values.cards import WithCard
from fanfold.values.facts import ArtifactMade
from fanfold.values.runs import TaskRun
from fanfold.values.states import StateName
from tests.unit.engine.runs_at_hand import done, failed, made


def shown(thing: Any) -> str:
    """Return a thing's card, as a notebook asks for it."""
    assert isinstance(thing, WithCard)
    html = thing._repr_html_()
    assert html is not None
    return html


@task(retries=2, tags=["<i>"], cache_policy=INPUTS)
def embed(text: str, key: Secret = Secret("swordfish"), size: int = 3) -> int:  # noqa: B008
    """Return a vector & more."""
    return size


def test_a_task_is_shown_with_its_signature_and_options() -> None:
    html = shown(embed)

    for part in (
        "<strong>embed</strong>",
        "text: str",
        "size: int = 3",
        "a vector &amp; more.",
        "&lt;i&gt;",
        "cache_policy",
        "INPUTS",
    ):
        assert part in html
    assert "swordfish" not in html
    assert "<i>" not in html


def test_a_flow_is_shown_alike() -> None:
    @flow(task_runner=ThreadPoolTaskRunner(max_workers=3))
    def search(words: list[str]) -> None:
        """Search."""

    assert "ThreadPoolTaskRunner(max_workers=3)" in shown(search)
    assert "(words: list[str])" in shown(search)


def test_states_say_what_they_are_and_why() -> None:
    failed = State(code=StateName.FAILED, error=ValueError("no <b>"))
    completed = State(code=StateName.COMPLETED, data={"key": Secret("swordfish"), "x": "<b>"})

    assert "ValueError: no &lt;b&gt;" in shown(failed)
    assert "&lt;b&gt;" in shown(completed)
    assert "swordfish" not in shown(completed)


def test_a_map_is_shown_as_a_heat_map_with_its_failures() -> None:
    run = made("embed", 300)
    done(run, 0, 100)
    for index in (100, 101, 150):
        failed(run, index, "no <b>", where="search.py:3 in embed")

    html = shown(MapFuture[Any](run))

    assert "300 elements" in html
    assert "100 completed" in html
    assert "197 unfinished" in html
    assert "3 x embed: ValueError: no &lt;b&gt; (elements 100, 101, 150; search.py:3" in html
    assert "1 x embed" in shown(MapFuture[Any](run, range(150, 300)))
    assert " x embed" not in shown(MapFuture[Any](run, range(0, 100)))


def test_a_future_shows_why_it_failed_and_brings_no_value_home() -> None:
    run = made("embed", 3)
    failed(run, 1, "no <b>", attempts=3)
    done(run, 2, 3)
    asked: list[object] = []
    run.session.fetch = asked.append  # type: ignore[method-assign]

    cards = [shown(TaskFuture[Any](run, index)) for index in range(3)]

    assert "Pending" in cards[0]
    assert "ValueError: no &lt;b&gt;" in cards[1]
    assert "embed-id-1" in cards[1]
    assert "Completed" in cards[2]
    assert not asked


def test_a_list_of_futures_is_counted() -> None:
    run = made("embed", 10)
    failed(run, 1, "no")
    futures = FutureList[Any](TaskFuture(run, index) for index in range(10))

    assert "1 Failed" in shown(futures)
    assert "9 Pending" in shown(futures)


def test_runs_that_hooks_are_told_of_are_shown_with_their_parameters() -> None:
    run = TaskRun(id="1", name="embed-1", task_name="embed", parameters={"x": Secret("swordfish")})

    assert "embed-1" in shown(run)
    assert "swordfish" not in shown(run)


def test_runners_describe_themselves() -> None:
    html = shown(ProcessTaskRunner(max_workers=2))

    assert "ProcessTaskRunner(max_workers=2" in html
    assert "dashboard" not in html


def test_a_runner_shows_the_dashboards_of_its_open_sessions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runner = ProcessTaskRunner(max_workers=2)

    class Session:
        dashboard = "http://me:word@127.0.0.1:8787/status"

    class Run:
        def __init__(self, runner: Any) -> None:
            self.runner = runner

    open_now: Any = {Run(runner): Session(), Run(ThreadPoolTaskRunner()): object()}
    monkeypatch.setattr(flows, "_sessions", open_now)

    html = shown(runner)

    assert 'href="http://***@127.0.0.1:8787/status"' in html


def artifact(kind: str, data: Any, **more: Any) -> ArtifactId:
    made = ArtifactMade(
        flow_run_id="",
        artifact_id="0123",
        kind=kind,
        data=json.dumps(data),
        at_us=0,
        **{"key": "report", "description": "It says <b>.", **more},
    )
    return ArtifactId("0123", made)


def test_artifacts_are_shown_themselves() -> None:
    table = shown(artifact("table", [{"a": "<i>", "b": 1_000}]))

    assert "&lt;i&gt;" in table
    assert "1,000" in table
    assert "It says &lt;b&gt;." in table
    assert "40 %" in shown(artifact("progress", 40.0))
    assert 'href="https://host/a.png"' in shown(artifact("image", "https://host/a.png"))


def test_texts_are_markdown_without_markup_of_their_own() -> None:
    made = artifact("markdown", "# A <script>alert(1)</script> 1 < 2")

    assert made._repr_markdown_() == "# A &lt;script>alert(1)&lt;/script> 1 < 2"
    assert made._repr_html_() is None
    assert len(artifact("markdown", "x" * 100_000)._repr_markdown_() or "") < 30_000


def test_an_id_travels_and_counts_as_the_id_alone() -> None:
    made = artifact("table", [])

    travelled = pickle.loads(pickle.dumps(made))

    assert (travelled, travelled.made) == ("0123", None)
    assert keys.digest(made) == keys.digest(travelled)


def test_an_id_without_what_it_stands_for_is_only_an_id() -> None:
    alone = ArtifactId("0123")

    assert alone == "0123"
    assert (alone._repr_html_(), alone._repr_markdown_()) == (None, None)


@pytest.fixture
def nobody_draws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("fanfold.values.cards._draw", None)
    yield


@pytest.mark.usefixtures("nobody_draws")
def test_where_nobody_draws_there_is_no_card() -> None:
    assert embed._repr_html_() is None


def test_other_things_have_no_card() -> None:
    assert card(3) is None
