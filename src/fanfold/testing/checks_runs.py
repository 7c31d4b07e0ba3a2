"""Checks of what a history answers to questions for flow runs, task runs and maps."""

from typing import Any

import pytest

from fanfold.ports.history import History
from fanfold.testing.places import OnPlaces
from fanfold.testing.scribes import (
    PROBLEM,
    T0_US,
    Scribe,
    chunk,
    element,
    ended,
    finished,
    flow_run,
    key,
    mapped,
    moved,
    task_run,
)
from fanfold.values.facts import FlowRunNamed, LinesDropped
from fanfold.values.records import (
    ChunkRecord,
    Chunks,
    FlowArguments,
    FlowRunRecord,
    FlowRuns,
    States,
    TaskRunRecord,
    TaskRuns,
    TaskTotal,
    TaskTotals,
)
from fanfold.values.states import StateName

RUN, OTHER, THIRD = key(1), key(2), key(3)
TASK, NEXT_TASK = key(11), key(12)


def ids(history: History, query: FlowRuns) -> list[str]:
    """Return the ids of the flow runs that a history answers with."""
    return [run.id for run in history.read(query)]


def task_ids(history: History, query: TaskRuns) -> list[str]:
    """Return the ids of the task runs that a history answers with."""
    return [run.id for run in history.read(query)]


class RunChecks(OnPlaces):
    """Checks of `read`: runs."""

    def test_a_flow_run_is_told_as_it_was_recorded(self, history: History) -> None:
        """Every field comes back: those of its birth, its name, its moves and its lease."""
        owner, made = history.owner(), "/home/ada/etl.py:etl"
        facts = flow_run(
            RUN, owner=owner, version="v1", parent_id=key(7), parent_task_run_id=key(8),
            retry_of=key(9), tags=("a", "b"), entrypoint=made, runner="threads", host="box",
            process=42, state=StateName.SCHEDULED,
        )  # fmt: skip

        scribe = Scribe(history)
        scribe.must(facts, FlowRunNamed(flow_run_id=RUN, name="näme", parameters={"x": "'é'"}))
        scribe.must(moved(RUN, StateName.RUNNING, tries=2))
        scribe.must(
            moved(RUN, StateName.FAILED, label="Broken", message="no", problem=PROBLEM,
                  at_us=T0_US + 9),
            LinesDropped(flow_run_id=RUN, count=2),
            LinesDropped(flow_run_id=RUN, count=3),
        )  # fmt: skip

        assert history.read(FlowRuns()) == [
            FlowRunRecord(
                id=RUN, flow="etl", name="näme", version="v1", state=StateName.FAILED,
                label="Broken", message="no", problem=PROBLEM, tries=2, parent_id=key(7),
                parent_task_run_id=key(8), retry_of=key(9), tags=("a", "b"),
                parameters={"x": "'é'"}, entrypoint=made, runner="threads", host="box", process=42,
                owner="", epoch=1, cancel_asked=False, created_us=T0_US, started_us=T0_US + 1,
                ended_us=T0_US + 9, lines_dropped=5, driver_since_us=T0_US,
            )
        ]  # fmt: skip

    def test_times_of_a_flow_run_are_those_of_its_first_start_and_end(
        self, history: History
    ) -> None:
        """A retry is no new start, nor a rollback a new end."""
        states = [StateName.RUNNING, StateName.AWAITING_RETRY, StateName.RETRYING]
        states += [StateName.COMPLETED, StateName.ROLLED_BACK]

        Scribe(history).must(
            flow_run(RUN), *(moved(RUN, state, at_us=T0_US + at) for at, state in enumerate(states))
        )

        record = history.read(FlowRuns())[0]
        assert (record.started_us, record.ended_us) == (T0_US, T0_US + 3)

    def test_what_a_flow_was_called_with_is_kept(self, history: History) -> None:
        """No answer where it isn't, or the run isn't known."""
        Scribe(history).must(
            flow_run(RUN), FlowRunNamed(flow_run_id=RUN, name="x", arguments=b"\0\xff"),
            flow_run(OTHER), FlowRunNamed(flow_run_id=OTHER, name="x"),
        )  # fmt: skip

        answers = [history.read(FlowArguments(flow_run_id=run)) for run in (RUN, OTHER, THIRD)]

        assert answers == [[b"\0\xff"], [], []]

    def test_flow_runs_come_the_latest_first_in_pages(self, history: History) -> None:
        """`before_id` goes on after the last of a page, also when new ones have come."""
        scribe = Scribe(history)
        scribe.must(flow_run(OTHER), flow_run(THIRD), flow_run(RUN))

        first = ids(history, FlowRuns(limit=2))
        scribe.must(flow_run(key(4)))
        second = ids(history, FlowRuns(limit=2, before_id=first[-1]))

        assert (first, second) == ([THIRD, OTHER], [RUN])

    FOUND = (
        (FlowRuns(ids=(RUN, THIRD)), [THIRD, RUN]),
        (FlowRuns(id_prefix=OTHER[:12]), [OTHER]),
        (FlowRuns(id_prefix="%"), []),
        (FlowRuns(name="calm-otter"), [THIRD, RUN]),
        (FlowRuns(flow="train"), [OTHER]),
        (FlowRuns(states=(StateName.RUNNING, StateName.COMPLETED)), [OTHER, RUN]),
        (FlowRuns(tags=("a",)), [OTHER, RUN]),
        (FlowRuns(tags=("a", "b")), [RUN]),
        (FlowRuns(parent_id=""), [THIRD, RUN]),
        (FlowRuns(parent_id=RUN), [OTHER]),
        (FlowRuns(since_us=T0_US + 5), [THIRD, OTHER]),
        (FlowRuns(since_us=T0_US + 6), [THIRD]),
        (FlowRuns(flow="etl", tags=("a",), parent_id=""), [RUN]),
        (FlowRuns(flow="train", name="calm-otter"), []),
    )

    @pytest.mark.parametrize(("query", "found"), FOUND, ids=lambda value: str(value)[:60])
    def test_flow_runs_are_found_by(
        self, history: History, query: FlowRuns, found: list[str]
    ) -> None:
        """Each field of the question, and several together."""
        Scribe(history).must(
            flow_run(RUN, tags=("b", "a")),
            moved(RUN, StateName.RUNNING),
            flow_run(
                OTHER, flow="train", name="Calm-Otter", parent_id=RUN, tags=("a",), at_us=T0_US + 5
            ),
            *finished(OTHER),
            flow_run(THIRD, tags=("ab", 'a"'), at_us=T0_US + 6),
        )

        assert ids(history, query) == found

    def test_flow_runs_are_found_by_their_owner(self, history: History) -> None:
        """Only those that aren't over: it holds no other."""
        scribe, owner = Scribe(history), history.owner()
        scribe.must(flow_run(RUN, owner=owner), flow_run(OTHER, owner=owner), *finished(OTHER))
        scribe.must(flow_run(THIRD, owner=history.owner()))

        assert ids(history, FlowRuns(owner=owner)) == [RUN]

    def test_a_task_run_is_told_as_it_was_recorded(self, history: History) -> None:
        """Every field comes back; the name it got at its end replaces the first one."""
        Scribe(history).must(
            flow_run(RUN),
            task_run(RUN, TASK, count=1, first=7, stream="s", parent_id=key(10), tags=("a",),
                     entrypoint="etl.py:parse"),
            ended(RUN, TASK, [StateName.CACHED], name="parse of may", seconds=0.5, cpu_s=0.25,
                  peak_bytes=5 << 40, rise_bytes=7),
        )  # fmt: skip

        assert history.read(TaskRuns()) == [
            TaskRunRecord(
                id=TASK, flow_run_id=RUN, task="parse", name="parse of may", count=1, single=True,
                first=7, stream="s", parent_id=key(10), tags=("a",), entrypoint="etl.py:parse",
                created_us=T0_US, ended_us=T0_US + 4, seconds=0.5, counts={StateName.CACHED: 1},
                cpu_s=0.25, peak_bytes=5 << 40, rise_bytes=7,
            )
        ]  # fmt: skip

    def test_of_an_open_map_is_told_what_its_chunks_told(self, history: History) -> None:
        """Later chunks count; elements that nothing was heard of are Pending."""
        done, failed = StateName.COMPLETED, StateName.FAILED
        first = {"spans": ((0, 3), (6, 8)), "states": ((done, 2), (failed, 2), (done, 1))}
        scribe = Scribe(history)
        needed: dict[str, Any] = {"cpu_s": 0.5, "before_bytes": 100, "peak_bytes": 150}
        scribe.must(
            flow_run(RUN), mapped(RUN, TASK, 9),
            chunk(RUN, TASK, "c2", seconds=1.5, **first, **needed),
        )  # fmt: skip
        scribe.must(
            chunk(RUN, TASK, "c1", seconds=0.25, spans=((2, 4),), states=((done, 2),), cpu_s=0.25,
                  before_bytes=190, peak_bytes=200),
        )  # fmt: skip

        record = history.read(TaskRuns())[0]
        states = history.read(States(task_run_id=TASK))

        assert states == [bytes([done, done, done, done, 0, 0, failed, done, 0])]
        assert record.counts == {done: 5, failed: 1, StateName.PENDING: 3}
        assert (record.seconds, record.ended_us) == (1.75, None)
        assert (record.cpu_s, record.peak_bytes, record.rise_bytes) == (0.75, 200, 50)

    def test_of_a_map_that_is_over_is_told_what_its_end_told(self, history: History) -> None:
        """The end has the last word, whatever chunks said, or say later."""
        done, failed = StateName.COMPLETED, StateName.FAILED
        scribe = Scribe(history)
        scribe.must(
            flow_run(RUN), mapped(RUN, TASK, 3),
            chunk(RUN, TASK, "c1", seconds=1.5, spans=((0, 3),), states=((failed, 3),)),
            ended(RUN, TASK, [done, failed, done], seconds=2.5, peak_bytes=9),
            chunk(RUN, TASK, "c2", seconds=1.5, spans=((0, 3),), states=((failed, 3),)),
        )  # fmt: skip

        record = history.read(TaskRuns())[0]

        assert history.read(States(task_run_id=TASK)) == [bytes([done, failed, done])]
        assert record.counts == {done: 2, failed: 1}
        assert (record.seconds, record.peak_bytes, record.name) == (2.5, 9, "parse-0")

    def test_states_of_an_unknown_task_run_have_no_answer(self, history: History) -> None:
        """A map over nothing has one, of no bytes."""
        Scribe(history).must(flow_run(RUN), mapped(RUN, TASK, 0))

        assert history.read(States(task_run_id=TASK)) == [b""]
        assert history.read(States(task_run_id=NEXT_TASK)) == []

    def test_task_runs_come_the_oldest_first_in_pages(self, history: History) -> None:
        """`after_id` goes on after the last of a page."""
        Scribe(history).must(flow_run(RUN), *(task_run(RUN, key(at)) for at in (22, 23, 21)))

        first = task_ids(history, TaskRuns(limit=2))
        second = task_ids(history, TaskRuns(limit=2, after_id=first[-1]))

        assert (first, second) == ([key(21), key(22)], [key(23)])

    TASKS_FOUND = (
        (TaskRuns(flow_run_ids=(OTHER,)), [key(13)]),
        (TaskRuns(flow_run_ids=(RUN, OTHER), open_only=True), [TASK, key(13)]),
        (TaskRuns(ids=(TASK, key(13))), [TASK, key(13)]),
        (TaskRuns(task="parse"), [TASK]),
        (TaskRuns(task="named"), [NEXT_TASK]),
        (TaskRuns(task="load", flow_run_ids=(RUN,)), [NEXT_TASK]),
    )

    @pytest.mark.parametrize(("query", "found"), TASKS_FOUND, ids=lambda value: str(value)[:60])
    def test_task_runs_are_found_by(
        self, history: History, query: TaskRuns, found: list[str]
    ) -> None:
        """Each field of the question; a task by its name or its run's."""
        Scribe(history).must(
            flow_run(RUN), flow_run(OTHER),
            task_run(RUN, TASK), task_run(RUN, NEXT_TASK, task="load"),
            ended(RUN, NEXT_TASK, [StateName.COMPLETED], name="named"),
            task_run(OTHER, key(13), task="load"),
        )  # fmt: skip

        assert task_ids(history, query) == found

    def test_totals_are_sums_of_a_flow_runs_tasks(self, history: History) -> None:
        """Over calls and maps, over open and ended ones, in the order of their first."""
        done, failed = StateName.COMPLETED, StateName.FAILED
        Scribe(history).must(
            flow_run(RUN), flow_run(OTHER),
            task_run(RUN, key(21), task="load", at_us=T0_US + 1),
            ended(RUN, key(21), [done], seconds=1.0, at_us=T0_US + 9, cpu_s=0.5, peak_bytes=300,
                  rise_bytes=20),
            mapped(RUN, key(22), 3, at_us=T0_US + 2),
            ended(RUN, key(22), [done, failed, done], seconds=0.5, at_us=T0_US + 20),
            element(RUN, key(22), 1, attempts=3),
            mapped(RUN, key(23), 2, task="load", at_us=T0_US + 3),
            chunk(RUN, key(23), "c1", spans=((0, 1),), states=((done, 1),), seconds=0.25,
                  cpu_s=0.25, before_bytes=170, peak_bytes=200),
            element(RUN, key(23), 0, attempts=2, state=done, problem=None),
            task_run(OTHER, key(24)),
        )  # fmt: skip

        assert history.read(TaskTotals(flow_run_ids=(RUN,))) == [
            TaskTotal(
                flow_run_id=RUN, task="load", runs=2, counts={done: 2, StateName.PENDING: 1},
                retries=1, seconds=1.25, first_us=T0_US + 1, last_us=None, cpu_s=0.75,
                peak_bytes=300, rise_bytes=30,
            ),
            TaskTotal(
                flow_run_id=RUN, task="parse", runs=1, counts={done: 2, failed: 1}, retries=2,
                seconds=0.5, first_us=T0_US + 2, last_us=T0_US + 20,
            ),
        ]  # fmt: skip
        totals = history.read(TaskTotals(flow_run_ids=(RUN, OTHER)))
        assert [total.flow_run_id for total in totals] == [OTHER, RUN, RUN]
        later = history.read(TaskTotals(flow_run_ids=(RUN,), since_us=T0_US + 2))
        assert [(total.task, total.runs, total.retries) for total in later] == [
            ("parse", 1, 2),
            ("load", 1, 1),
        ]

    def test_chunks_come_in_the_order_in_which_they_came_home(self, history: History) -> None:
        """Every field comes back."""
        done = (int(StateName.COMPLETED), 2)
        told = [
            chunk(RUN, TASK, name, worker="w", spans=((at, at + 2),), states=(done,), seconds=0.5,
                  cpu_s=0.25, before_bytes=1 << 40, peak_bytes=2 << 40)
            for at, name in enumerate(("c3", "c1", "c2"))
        ]  # fmt: skip
        Scribe(history).must(flow_run(RUN), mapped(RUN, TASK, 9), *told)

        found = history.read(Chunks(task_run_id=TASK))

        assert [home.chunk for home in found] == ["c3", "c1", "c2"]
        assert found[1] == ChunkRecord(
            task_run_id=TASK, chunk="c1", worker="w", spans=((1, 3),), states=(done,), seconds=0.5,
            cpu_s=0.25, before_bytes=1 << 40, peak_bytes=2 << 40, at_us=T0_US + 2,
        )  # fmt: skip
        assert history.read(Chunks(task_run_id=TASK, limit=2)) == found[:2]
