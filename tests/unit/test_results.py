"""Results that are kept: what is written where, when it is taken again, and when it isn't."""

import json
import pickle
import threading
import time
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fanfold import INPUTS, flow, task
from fanfold.caching import NO_CACHE, TASK_SOURCE
from fanfold.engine import settings
from fanfold.runtime import flow_run, task_run
from fanfold.values.errors import UsageError
from tests.unit.keeping_tasks import counted, named, payloads


@pytest.fixture
def results(fanfold_home: Path) -> Path:
    """Where results are kept by default."""
    return fanfold_home / "results"


# Whether results are kept.


def test_a_kept_task_that_is_called_twice_in_a_flow_runs_once() -> None:
    calls: list[int] = []
    work = counted(calls, persist_result=True)

    @flow
    def twice() -> list[str]:
        return [work(1, return_state=True).name, work(1, return_state=True).name]

    assert twice() == ["Completed", "Cached"]
    assert twice() == ["Completed", "Cached"], "by DEFAULT a flow run shares with no other"
    assert calls == [1, 1]


def test_nothing_is_kept_unless_somebody_asks_for_it(results: Path) -> None:
    calls: list[int] = []
    work = counted(calls)

    flow(lambda: [work(1), work(1), work.submit(1).result()])()

    assert len(calls) == 3
    assert not results.exists()


def test_a_flow_keeps_the_results_of_its_tasks_unless_they_say_otherwise(results: Path) -> None:
    calls: list[Any] = []
    work = counted(calls, cache_policy=None)
    opted_out = work.with_options(name="opted-out", persist_result=False)

    @flow
    def inner() -> None:
        work(2)
        work(2)

    @flow(persist_result=True)
    def outer() -> None:
        work(1)
        work(1)
        opted_out(3)
        opted_out(3)
        inner()

    outer()

    assert calls == [1, 3, 3, 2]
    assert [folder.name.rpartition("-")[0] for folder in (results / "tasks").iterdir()] == ["noted"]


def test_a_subflow_takes_over_storage_and_serializer_unless_it_says_otherwise(
    tmp_path: Path,
) -> None:
    work = counted([], result_storage_key="{flow_run.flow_name}-{parameters[x]}")

    @flow(name="inner")
    def inner() -> None:
        work(1)

    own = inner.with_options(
        name="own", result_storage=tmp_path / "own", result_serializer="pickle"
    )

    @flow(name="outer", result_storage=tmp_path / "outer", result_serializer="json")
    def outer() -> None:
        work(0)
        inner()
        own()

    outer()

    assert named(tmp_path / "outer") == ["inner-1", "outer-0"]
    assert (tmp_path / "outer" / "inner-1").read_bytes() == b'["result", 1]'
    assert pickle.loads((tmp_path / "own" / "own-1").read_bytes()) == ["result", 1]


def test_a_policy_without_keeping_is_warned_of_and_caches_nothing() -> None:
    calls: list[int] = []

    with pytest.warns(UserWarning, match="nothing is cached"):
        work = counted(calls, cache_policy=INPUTS, persist_result=False)

    assert [work(1), work(1)] == [["result", 1]] * 2
    assert len(calls) == 2


@pytest.mark.parametrize("runner", ["threads", "processes"])
def test_without_a_cache_results_are_kept_and_never_shared(runner: str, results: Path) -> None:
    @task(persist_result=True, cache_policy=NO_CACHE)
    def work(x: int) -> int:
        return x

    @flow(task_runner=runner)
    def both() -> list[Any]:
        states = [work.submit(1), work.submit(1), *work.map([1, 1])]
        for state in states:
            state.wait()
        return [(state.state.name, state.result()) for state in states]

    assert both() == [("Completed", 1)] * 4
    kept = [payload.startswith(b"1") for payload in payloads(results)]
    assert all(kept) and len(kept) >= 3


def test_policies_add_up_in_any_order_and_no_cache_adds_nothing() -> None:
    calls: list[int] = []
    work = counted(calls, cache_policy=INPUTS + TASK_SOURCE)
    other = work.with_options(cache_policy=TASK_SOURCE + INPUTS + NO_CACHE)

    assert [work(1), other(1)] == [["result", 1]] * 2
    assert calls == [1]


# Refreshing.


def test_a_refresh_runs_and_later_calls_get_what_it_returned() -> None:
    values = iter(range(9))

    @task(cache_policy=INPUTS)
    def work() -> int:
        return next(values)

    refresh = work.with_options(refresh_cache=True)

    assert [work(), work(), refresh(), work(), refresh(), work(), work()] == [0, 0, 1, 1, 2, 2, 2]


def test_the_newest_result_counts_even_of_the_run_that_began_first() -> None:
    # Given two maps that compute the same, of which the first one to begin is the last to end
    began, go_on = threading.Event(), threading.Event()

    @task(cache_policy=INPUTS, refresh_cache=True)
    def work(x: int) -> str:
        if not began.is_set():
            began.set()
            assert go_on.wait(30)
            return "newest"
        return "early"

    @flow
    def both() -> None:
        late = work.submit(1)
        assert began.wait(30)
        assert work.submit(1).result() == "early"
        go_on.set()
        assert late.result() == "newest"

    both()

    assert work.with_options(refresh_cache=False)(1) == "newest"


def test_refreshing_can_be_asked_for_everywhere_unless_a_task_says_no(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[int] = []
    work = counted(calls, cache_policy=INPUTS)
    says_no = work.with_options(refresh_cache=False)
    work(1)

    monkeypatch.setenv("FANFOLD_TASKS_REFRESH_CACHE", "true")

    assert [says_no(1), work(1)] == [["result", 1]] * 2
    assert calls == [1, 1]


# Serializers.


def test_a_result_in_json_can_be_read_by_everybody(results: Path) -> None:
    work = counted([], result_serializer="json", result_storage_key="out/{parameters[x]}.json")

    assert work("é") == ["result", "é"]

    assert json.loads((results / "out" / "é.json").read_bytes()) == ["result", "é"]


@pytest.mark.parametrize("serializer", ["pickle", "json", "compressed/pickle", "compressed/json"])
@pytest.mark.parametrize("runner", ["threads", "processes"])
def test_results_of_every_serializer_are_found_again(serializer: str, runner: str) -> None:
    @task(cache_policy=INPUTS, result_serializer=serializer)
    def work(x: int) -> Any:
        return {"x": [x, None, "text"]}

    @flow(task_runner=runner)
    def mapped() -> list[Any]:
        futures = work.map(range(20))
        return [*futures.result(), dict(futures.states)]

    first, second = mapped(), mapped()

    assert first[:-1] == second[:-1] == [{"x": [x, None, "text"]} for x in range(20)]
    assert (first[-1], second[-1]) == ({"Completed": 20}, {"Cached": 20})
    assert work(3) == {"x": [3, None, "text"]}


class Reversing:
    """A user's own serializer."""

    def dumps(self, obj: Any) -> bytes:
        return json.dumps(obj).encode()[::-1]

    def loads(self, blob: bytes) -> Any:
        return json.loads(blob[::-1])


@pytest.mark.parametrize("runner", ["threads", "processes"])
def test_a_serializer_of_ones_own_is_used(runner: str, results: Path) -> None:
    work = counted([], cache_policy=INPUTS, result_serializer=Reversing())

    @flow(task_runner=runner)
    def mapped() -> Any:
        return work.map([1, 2]).result()

    assert mapped() == mapped() == [["result", 1], ["result", 2]]
    assert any(b'"tluser"' in payload for payload in payloads(results))


def test_the_serializer_of_the_settings_serves_where_none_is_named(
    monkeypatch: pytest.MonkeyPatch, results: Path
) -> None:
    monkeypatch.setenv("FANFOLD_RESULTS_DEFAULT_SERIALIZER", "json")

    counted([], cache_policy=INPUTS)("readable")

    assert any(b'["result", "readable"]' in payload for payload in payloads(results))


@pytest.mark.parametrize("extra", [{}, {"result_storage_key": "here"}])
def test_a_value_that_a_serializer_cannot_write_is_only_not_kept(
    extra: dict[str, Any], caplog: pytest.LogCaptureFixture, results: Path
) -> None:
    calls: list[int] = []

    @task(cache_policy=INPUTS, result_serializer="json", **extra)
    def work(x: int) -> Any:
        calls.append(x)
        return object

    states = [work(1, return_state=True), work(1, return_state=True)]

    assert [(state.name, state.result()) for state in states] == [("Completed", object)] * 2
    assert len(calls) == 2
    assert "A result of work isn't kept" in caplog.text and "JSON" in caplog.text
    assert not named(results)


@pytest.mark.parametrize("make", [task, flow])
def test_a_serializer_that_does_not_exist_is_refused_with_the_nearest_name(make: Any) -> None:
    with pytest.raises(UsageError, match=r"Did you mean 'compressed/json'"):
        make(result_serializer="compresed/json")(lambda: 1)


@pytest.mark.parametrize("make", [task, flow])
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("persist_result", "no"),
        ("cache_result_in_memory", "x"),
        ("result_storage", 5),
        ("result_storage", ["a"]),
    ],
)
def test_options_of_results_that_make_no_sense_are_refused_by_name(
    make: Any, option: str, value: Any
) -> None:
    with pytest.raises(TypeError, match=option):
        make(**{option: value})(lambda: 1)
    with pytest.raises(TypeError, match=option):
        make(lambda: 1).with_options(**{option: value})


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("results.default_storage", "s4://x", "There is no storage s4://"),
        ("default_runner", "nowhere", "There is no task runner 'nowhere'"),
        ("history.url", "mysql://somewhere/runs", "There is no history 'mysql'"),
    ],
)
def test_what_a_setting_names_in_vain_is_told_with_the_setting_and_where_it_is(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    variable = f"FANFOLD_{name.replace('.', '_').upper()}"
    monkeypatch.setenv(variable, value)

    with pytest.raises(UsageError) as raised:
        flow(lambda: counted([], persist_result=True)(1))()

    assert str(raised.value).startswith(f"{name} (environment variable {variable}): {told}")

    with settings.temporary({name: value}), pytest.raises(UsageError, match="temporary settings"):
        flow(lambda: counted([], persist_result=True)(1))()


# Objects that users name.


def test_a_result_is_exactly_the_object_that_was_named(results: Path) -> None:
    work = counted([], result_storage_key="models/{parameters[x]}.pkl")

    @flow
    def around() -> Any:
        return [work("a"), *work.map(["b", "c"]).result()]

    around()

    assert named(results) == ["models/a.pkl", "models/b.pkl", "models/c.pkl"]
    assert pickle.loads((results / "models" / "b.pkl").read_bytes()) == ["result", "b"]


def test_an_object_that_is_there_is_the_result_whoever_put_it_there(results: Path) -> None:
    calls: list[int] = []
    work = counted(calls, result_storage_key="{parameters[x]}.json", result_serializer="json")
    results.mkdir(parents=True)
    (results / "1.json").write_text('{"by": "hand"}')

    @flow
    def around() -> list[Any]:
        mapped = work.map([1, 2])
        return [mapped.result(), dict(mapped.states), work(2, return_state=True).name]

    states = {"Cached": 1, "Completed": 1}
    assert around() == [[{"by": "hand"}, ["result", 2]], states, "Cached"]
    assert calls == [2]


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("same", "such as {parameters[x]}."),
        ("{parameters[day]}/{task_run.task_name}", "such as {parameters[x]}."),
        ("{parameters[x]}", None),
        ("{parameters[x][0]:>{parameters[day]}}", None),
        ("{task_run.id}", None),
        ("{parameters}", None),
    ],
)
def test_a_map_is_warned_that_all_its_elements_have_one_object(
    template: str, told: str | None, results: Path
) -> None:
    work = task(lambda x, day: x, name="work", result_storage_key=template)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        flow(lambda: work.map(["a", "b"], day=1).result(), task_runner="threads")()
        flow(lambda: [work.map(["a"], day=1).result(), work("b", 1)], task_runner="threads")()

    messages = [str(each.message) for each in caught]
    assert len(messages) == (told is not None)
    assert all(repr(template) in message and message.endswith(told or "") for message in messages)


def test_names_may_tell_of_the_runs(results: Path) -> None:
    @task(result_storage_key="{flow_run.flow_name}/{task_run.task_name}/{flow_run.id}.pkl")
    def work() -> str:
        return f"{flow_run.flow_name}/{task_run.task_name}/{flow_run.id}.pkl"

    name = flow(name="the-flow")(lambda: work())()

    assert named(results) == [name]


def test_a_refresh_replaces_the_object(results: Path) -> None:
    calls: list[int] = []
    work = counted(calls, result_storage_key="same", result_serializer="json")
    work(1)

    assert work(2) == ["result", 1]
    assert work.with_options(refresh_cache=True)(2) == ["result", 2]
    assert work(3) == ["result", 2]
    assert calls == [1, 2]
    assert (results / "same").read_text() == '["result", 2]'


def test_a_named_object_expires(results: Path) -> None:
    calls: list[int] = []
    work = counted(calls, result_storage_key="day", cache_expiration=timedelta(seconds=0.2))

    work(1)
    assert work(2) == ["result", 1]
    deadline = time.monotonic() + 10
    while work(3) != ["result", 3] and time.monotonic() < deadline:
        threading.Event().wait(0.02)

    assert calls == [1, 3]
    (results / "day").write_bytes(pickle.dumps("put there by hand"))
    threading.Event().wait(0.25)
    assert work(4) == "put there by hand", "nobody has said how long that is to last"


def test_an_object_that_somebody_deleted_is_made_again(results: Path) -> None:
    calls: list[int] = []
    work = counted(calls, result_storage_key="object")
    work(1)

    (results / "object").unlink()

    assert [work(2), work(3)] == [["result", 2]] * 2
    assert calls == [1, 2]


def test_with_a_policy_the_policy_says_which_calls_share_and_the_object_holds_the_last() -> None:
    calls: list[int] = []
    work = counted(calls, result_storage_key="object", cache_policy=INPUTS)

    assert [work(1), work(1), work(2), work(2)] == [["result", x] for x in (1, 1, 2, 2)]
    assert calls == [1, 2]
    assert work(1) == ["result", 1], "the object holds another call's result by now"


@pytest.mark.parametrize(
    "name", ["../out", "a/../../b", "/etc/x", "a//b", "", "tasks/t/index/i", "a/.tmp-b", "..\\a"]
)
def test_a_name_outside_of_the_storage_is_refused(name: str, results: Path) -> None:
    work = counted([], result_storage_key="{parameters[x]}")

    with pytest.raises(UsageError, match=r"result_storage_key '\{parameters\[x\]\}' of noted"):
        work(name)
    states = work.map([name, "fine"], return_state=True)
    assert [state.name for state in states] == ["Failed", "Completed"]
    assert named(results) == ["fine"]


def test_a_name_that_cannot_be_filled_in_is_told_with_what_there_is() -> None:
    work = counted([], result_storage_key="{parameters[y]}")

    with pytest.raises(UsageError, match="the parameters of the call are: x"):
        work(1)
    with pytest.raises(TypeError, match="is a string"):
        counted([], result_storage_key=3)
