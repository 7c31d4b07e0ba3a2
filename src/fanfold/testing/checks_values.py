"""Checks of what travels: arguments, values, errors and what is shared, and who looks inside."""

import os
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

from fanfold.annotations import unmapped
from fanfold.ports.runner import TaskRunner
from fanfold.tasks import Task
from fanfold.testing import faults
from fanfold.testing.chunks import Weighing
from fanfold.testing.desk import opened
from fanfold.testing.faults import (
    Raise,
    RaiseForeign,
    RaiseLocked,
    RaisePicky,
    ReturnUnpicklable,
    Traced,
)
from fanfold.testing.ground import Found, Ground
from fanfold.testing.ledger import Ledger
from fanfold.values.errors import NotPicklable, RemoteError
from fanfold.values.resources import Traits

SHARED_BYTES = 100 << 20
RESULTS, RESULT_BYTES = 100, 2 << 20
GROWTH_BYTES = 50 << 20
"""A quarter of these results: more than the driver's own book-keeping needs by far."""


class ValueChecks(Ground):
    """Checks 5 to 8, 10, 19, 20, 28 and 29."""

    def test_05_futures_deep_inside_arguments(self, runner: TaskRunner) -> None:
        """Futures in lists, dicts, tuples and dataclasses become values where the call runs."""

        def many(traits: Traits) -> tuple[Any, Any]:
            one, two, three = (Task(faults.same).submit(word) for word in ("one", "two", "three"))
            deep = {"list": [one, (two,)], "dataclass": Found([], [three, {"again": one}])}
            single = Task(faults.same).submit(deep)
            mapped = Task(faults.same).map([{"of": [two]}, {"of": [three, "plain"]}])
            return self._value(single), self._value(mapped)

        single, mapped = self._in_flow(runner, many)

        inner = Found([], ["three", {"again": "one"}])
        assert single == {"list": ["one", ("two",)], "dataclass": inner}
        assert mapped == [{"of": ["two"]}, {"of": ["three", "plain"]}]

    def test_06_a_diamond_is_computed_once(self, runner: TaskRunner, tmp_path: Path) -> None:
        """What two calls need runs once, and so do they for the one that needs both."""
        ledger = Ledger(str(tmp_path))

        def diamond(traits: Traits) -> Any:
            noted = Task(faults.noted)
            top = noted.submit(1, ledger, "top")
            left, right = noted.submit(top, ledger, "left"), noted.submit(top, ledger, "right")
            return self._value(noted.submit([left, right], ledger, "bottom"))

        assert self._in_flow(runner, diamond) == [1, 1]
        words = ("top", "left", "right", "bottom")
        assert [len(ledger.lines(word)) for word in words] == [1, 1, 1, 1]

    def test_07_values_are_unpickled_only_where_they_are_used(
        self, runner: TaskRunner, tmp_path: Path
    ) -> None:
        """Neither driver nor scheduler unpickles a value, until the driver is asked for it."""
        ledger = Ledger(str(tmp_path))
        passing = Task(faults.pass_traced)

        def chain(traits: Traits) -> tuple[bool, set[int]]:
            given = [Traced(ledger, number) for number in range(50)]
            made = Task(faults.make_traced).map(range(50), ledger)
            futures = [passing.map(given, ledger), passing.map(made, ledger)]
            for future in futures:
                self._settle(future)
            unasked = _processes(ledger, "unpickled")
            for future in futures:
                assert {value.number for value in self._value(future)} == set(range(50))
            return traits.remote, unasked

        remote, unasked = self._in_flow(runner, chain)

        workers = _processes(ledger, "made", "passed")
        driver = {os.getpid()} if remote else set[int]()
        assert unasked <= workers - driver, "values were unpickled where nobody used them"
        assert bool(unasked) == remote
        assert _processes(ledger, "unpickled") - unasked == driver

    def test_08_a_failed_element_fails_its_dependents_alone(
        self, runner: TaskRunner, tmp_path: Path
    ) -> None:
        """Only what needs a failed element is UpstreamFailed; it doesn't run."""
        plan = self._plan(tmp_path, {7: (Raise(ValueError("seven")),)})

        def dependents(traits: Traits) -> tuple[list[str], list[str]]:
            first = Task(faults.perform).map(range(20), plan)
            noted = Task(faults.noted)
            second = noted.map(first, plan.ledger, "second")
            singles = [noted.submit({"of": first[at]}, plan.ledger, "single") for at in (6, 7, 8)]
            return self._states(second), [self._states(single)[0] for single in singles]

        states, singles = self._in_flow(runner, dependents)

        assert singles == ["Completed", "UpstreamFailed", "Completed"]
        assert states.pop(7) == "UpstreamFailed"
        assert set(states) == {"Completed"}
        assert [len(plan.ledger.lines(word)) for word in ("second", "single")] == [19, 2]

    def test_10_the_task_is_pickled_once_per_map(self, runner: TaskRunner, tmp_path: Path) -> None:
        """However many chunks carry a map, its task is pickled once, and read once per process."""
        ledger = Ledger(str(tmp_path))

        def mapped(traits: Traits) -> tuple[bool, int]:
            future = Task(Traced(ledger, 0), name="traced").map(range(5_000))
            self._settle(future)
            return traits.remote, future.run.chunks_made

        remote, chunks = self._in_flow(runner, mapped)

        assert chunks > 1
        assert len(ledger.lines("pickled")) == remote
        read = Counter(process for _, process in ledger.lines("unpickled"))
        assert set(read.values()) <= {1}, "a process unpickled the task more than once"
        assert bool(read) == remote

    def test_19_what_cannot_travel_fails_alone(self, runner: TaskRunner, tmp_path: Path) -> None:
        """An unpicklable argument or result is told as such, where it has to travel at all."""
        plan = self._plan(tmp_path, {1: (ReturnUnpicklable(),)})
        lock = threading.Lock()

        def unpicklable(traits: Traits) -> tuple[bool, str, Found, Found]:
            try:
                submitted = self._states(Task(faults.same).submit(lock))[0]
            except NotPicklable:
                submitted = "refused"
            arguments = self._found(Task(faults.same).map(["zero", lock, "two"]))
            results = self._found(Task(faults.perform).map(range(3), plan))
            return traits.remote, submitted, arguments, results

        remote, submitted, arguments, results = self._in_flow(runner, unpicklable)

        assert submitted == ("refused" if remote else "Completed")
        middle = "Failed" if remote else "Completed"
        assert arguments.states == results.states == ["Completed", middle, "Completed"]
        assert (arguments.values[0], arguments.values[2]) == ("zero", "two")
        assert (results.values[0], results.values[2]) == (0, 2)
        assert isinstance(arguments.values[1], NotPicklable if remote else type(lock))
        assert isinstance(results.values[1], NotPicklable if remote else faults.Unpicklable)

    def test_28_what_is_shared_reaches_a_process_once(
        self, runner: TaskRunner, tmp_path: Path
    ) -> None:
        """A big unmapped argument is read once per worker process, and shared once by key."""
        ledger = Ledger(str(tmp_path))
        big = Traced(ledger, 0, bytes(SHARED_BYTES))

        def mapped(traits: Traits) -> tuple[bool, list[int]]:
            return traits.remote, self._value(
                Task(faults.size_of).map(range(200), unmapped(big), ledger)
            )

        remote, sizes = self._in_flow(runner, mapped)
        with opened(runner, self.deadline_s) as desk:
            shared = [desk.session.share("key", bytes(1 << 20)) for _ in range(2)]
            refs = [desk.run(Weighing(id=f"{at}"), shared=shared[at:]) for at in range(2)]
            weighed = desk.values(refs)

        assert set(sizes) == {SHARED_BYTES}
        read = Counter(process for _, process in ledger.lines("unpickled"))
        assert set(read.values()) <= {1}, "a process read the shared argument more than once"
        assert bool(read) == remote
        assert shared[0] == shared[1], "sharing under a known key made another copy"
        assert [parts[1:] for parts in weighed] == [[b"1048576"] * 2, [b"1048576"]]

    def test_20_errors_that_cannot_travel_come_home_readable(
        self, runner: TaskRunner, tmp_path: Path
    ) -> None:
        """Type, message and the user's frames are told, whatever the exception's class is like."""
        strange = (
            RaisePicky("left", "right"),
            RaiseLocked("it holds a lock"),
            RaiseForeign("nobody knows it here"),
        )
        plan = self._plan(tmp_path, {x: (fault,) for x, fault in enumerate(strange)})

        def mapped(traits: Traits) -> tuple[bool, Found]:
            return traits.remote, self._found(Task(faults.perform).map(range(4), plan))

        remote, found = self._in_flow(runner, mapped)

        assert found.states == ["Failed", "Failed", "Failed", "Completed"]
        told = [
            ("Picky", "left and right"),
            ("Locked", "it holds a lock"),
            ("Foreign", "nobody knows it here"),
        ]
        for error, (kind, message) in zip(found.values, told, strict=False):
            named = str(error) if isinstance(error, RemoteError) else type(error).__qualname__
            assert kind in named, f"{error!r} doesn't name {kind}"
            assert message in str(error), f"{error!r} doesn't say {message!r}"
            notes = "".join(getattr(error, "__notes__", ()))
            assert not remote or "in strike" in notes, f"{error!r} doesn't say where"

    def test_29_results_that_are_waited_for_stay_on_the_cluster(self, runner: TaskRunner) -> None:
        """The driver doesn't grow by results that nobody has asked for; threads hold them."""

        def mapped(traits: Traits) -> tuple[bool, int, int]:
            self._settle(Task(faults.same).map(range(RESULTS)))
            before = psutil.Process().memory_info().rss
            future = Task(faults.weighty).map(range(RESULTS), RESULT_BYTES)
            self._settle(future)
            grown = psutil.Process().memory_info().rss - before
            return traits.remote, grown, len(self._value(future[RESULTS - 1]))

        remote, grown, last = self._in_flow(runner, mapped)

        assert last == RESULT_BYTES
        if remote:
            assert grown < GROWTH_BYTES, f"the driver grew by {grown >> 20} MiB"


def _processes(ledger: Ledger, *words: str) -> set[int]:
    """Return the ids of the processes that noted one of the words."""
    return {int(process) for word in words for _, process in ledger.lines(word)}
