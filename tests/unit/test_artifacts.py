"""Artifacts: what is recorded of them, from wherever they are made."""

import asyncio
import inspect
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fanfold import artifacts, flow, runtime, task
from fanfold.adapters.history.memory import MemoryHistory
from fanfold.adapters.runners.processes import ProcessTaskRunner
from fanfold.artifacts import (
    acreate_table_artifact,
    aupdate_progress_artifact,
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from fanfold.engine import settings
from fanfold.engine.recording import recorder
from fanfold.engine.recording.masking import MASK
from fanfold.values.errors import UsageError
from fanfold.values.ids import new_id
from fanfold.values.records import ArtifactRecord, Artifacts
from fanfold.values.secrets import Secret

DEADLINE_S = 20.0
RUNNERS = {"threads": "threads", "processes": ProcessTaskRunner(max_workers=1)}
ON_EACH = pytest.mark.parametrize("runner", RUNNERS.values(), ids=RUNNERS)

Read = Callable[..., list[ArtifactRecord]]


@pytest.fixture(autouse=True)
def history() -> Iterator[MemoryHistory]:
    """A history of its own."""
    url = f"memory://{new_id()}"
    with settings.temporary({"history.url": url}):
        yield MemoryHistory(url)


@pytest.fixture
def made(history: MemoryHistory) -> Read:
    """Returns the recorded artifacts, the latest first."""

    def read(**wanted: Any) -> list[ArtifactRecord]:
        kept = recorder.current()
        assert kept is not None
        assert kept.flush(DEADLINE_S)
        return history.read(Artifacts(**wanted))

    return read


def test_each_kind_is_recorded_with_its_data(made: Read) -> None:
    @flow
    def around() -> Any:
        create_table_artifact([{"a": 1}], description="numbers")
        create_markdown_artifact("# Hello")
        create_link_artifact("https://example.com")
        create_link_artifact("https://example.com", link_text="here")
        create_image_artifact("https://example.com/a.png")
        create_progress_artifact(12.5)
        return runtime.flow_run.id

    flow_run_id = around()

    found = made()[::-1]
    assert [(each.kind, json.loads(each.data)) for each in found] == [
        ("table", [{"a": 1}]),
        ("markdown", "# Hello"),
        ("link", "https://example.com"),
        ("link", "[here](https://example.com)"),
        ("image", "https://example.com/a.png"),
        ("progress", 12.5),
    ]
    assert {(each.flow_run_id, each.task_run_id, each.key) for each in found} == {
        (flow_run_id, "", "")
    }
    assert found[0].description == "numbers"


def test_artifacts_of_one_key_are_its_versions_and_the_latest_counts(made: Read) -> None:
    @flow
    def around() -> None:
        create_table_artifact([{"a": 1}], key="k")
        create_table_artifact([{"a": 2}], key="k")

    around()

    assert [(each.version, json.loads(each.data)) for each in made(key="k")] == [
        (2, [{"a": 2}]),
        (1, [{"a": 1}]),
    ]
    (latest,) = made(key="k", latest_only=True)
    assert latest.version == 2


def test_an_update_of_a_progress_changes_its_value(made: Read) -> None:
    @flow
    def around() -> Any:
        artifact_id = create_progress_artifact(0, key="p", description="so far")
        assert update_progress_artifact(artifact_id, 50) == artifact_id
        update_progress_artifact(artifact_id, 75.5, description="more")
        return artifact_id

    artifact_id = around()

    (found,) = made()
    assert (found.id, json.loads(found.data), found.version) == (artifact_id, 75.5, 1)
    assert found.description == "more"


@ON_EACH
def test_artifacts_of_elements_say_which_element_made_them(runner: Any, made: Read) -> None:
    @task
    def report(x: int) -> Any:
        return create_markdown_artifact(f"from {x}")

    @flow(task_runner=runner)
    def around() -> Any:
        return [*report.map([1, 2]).result(), report.submit(3).result()]

    ids = around()

    found = {each.id: each for each in made()}
    first, second, single = (found[artifact_id] for artifact_id in ids)
    assert [json.loads(each.data) for each in (first, second, single)] == [
        *("from 1", "from 2", "from 3")
    ]
    assert (first.index, second.index, single.index) == (0, 1, None)
    assert first.task_run_id == second.task_run_id != single.task_run_id
    assert {len(each.task_run_id) for each in found.values()} == {24}


def test_a_progress_is_seen_while_the_element_still_runs(made: Read, tmp_path: Path) -> None:
    seen = tmp_path / "seen"

    @task
    def work() -> bool:
        create_progress_artifact(10)
        waiting = threading.Event()
        for _ in range(int(DEADLINE_S * 100)):
            if seen.exists():
                return True
            waiting.wait(0.01)
        return False

    @flow(task_runner=RUNNERS["processes"])
    def around() -> Any:
        future = work.submit()
        deadline = time.monotonic() + DEADLINE_S
        while not made():
            assert time.monotonic() < deadline
            threading.Event().wait(0.01)
        seen.touch()
        return future.result()

    assert around() is True


def test_what_only_a_worker_knows_as_a_secret_is_masked_too(made: Read) -> None:
    @task
    def work() -> None:
        create_markdown_artifact("it is " + Secret("-".join(["made", "there"])).get())

    flow(lambda: work.submit().wait(), task_runner=RUNNERS["processes"])()

    (found,) = made()
    assert json.loads(found.data) == f"it is {MASK}"


def test_outside_of_a_run_an_artifact_is_recorded_with_a_warning(
    made: Read, caplog: pytest.LogCaptureFixture
) -> None:
    create_markdown_artifact("alone", key="alone")

    (found,) = made()
    assert (found.flow_run_id, found.key) == ("", "alone")
    (warning,) = [each for each in caplog.records if each.name == "fanfold.artifacts"]
    assert "create_markdown_artifact() was called outside of any run" in warning.getMessage()


def test_a_task_outside_of_flows_makes_artifacts_without_a_warning(
    made: Read, caplog: pytest.LogCaptureFixture
) -> None:
    task(lambda: create_markdown_artifact("in a task"))()

    assert len(made()) == 1
    assert not [each for each in caplog.records if each.name == "fanfold.artifacts"]


def test_without_a_history_nothing_happens() -> None:
    with settings.temporary({"history.url": "off"}):
        assert flow(lambda: len(create_markdown_artifact("for nobody")))() == 24


@pytest.mark.parametrize("key", ["Upper", "under_score", "with space", "ä", ""])
def test_a_key_of_other_characters_is_refused(key: str) -> None:
    with pytest.raises(UsageError, match="lowercase letters, digits and dashes"):
        create_markdown_artifact("text", key=key)


@pytest.mark.parametrize(("given", "kept"), [(-5, 0.0), (120, 100.0), (True, 1.0)])
def test_a_progress_lies_between_0_and_100(
    given: float, kept: float, made: Read, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        flow(lambda: create_progress_artifact(given) and None)()

    (found,) = made()
    assert json.loads(found.data) == kept


@pytest.mark.parametrize("given", [float("nan"), "half", None])
def test_a_progress_is_a_number(given: Any) -> None:
    with pytest.raises(UsageError, match="a number of per cent"):
        create_progress_artifact(given)


def test_async_code_awaits_the_twins_and_the_ids(made: Read) -> None:
    @flow
    async def around() -> None:
        artifact_id = await create_progress_artifact(1)
        await aupdate_progress_artifact(artifact_id, 2)
        await acreate_table_artifact(table={"a": [1]}, key="t")

    asyncio.run(around())

    assert sorted(each.data for each in made()) == ["2.0", '[{"a": 1}]']


def test_every_function_has_a_twin_of_the_same_signature() -> None:
    plain = [name for name in vars(artifacts) if name.startswith(("create_", "update_"))]

    assert len(plain) == 6
    for name in plain:
        twin = getattr(artifacts, f"a{name}")
        assert inspect.iscoroutinefunction(twin)
        assert twin.__name__ == f"a{name}"
        parameters = inspect.signature(getattr(artifacts, name)).parameters
        assert inspect.signature(twin).parameters == parameters
