"""Flows in the cells of a real kernel: what is shown, what is cached, and how it is interrupted."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.notebooks.kernels import Kernel, Output

SOON_S = 15.0
"""Mostly a second or two. What waits would take minutes, or ended one by one half a minute."""

SLOW = """
import time
from fanfold import flow, task

@task
def slow(x):
    time.sleep(0.02)
    if x == 7:
        raise ValueError("no <b>such</b> day")
    return x

@flow
def slowly(count):
    return slow.map(range(count)).result(raise_on_failure=False)[:3]
"""


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    with Kernel() as kernel:
        yield kernel


def done(output: Output) -> int:
    """Return how many elements are done, by the latest that was shown."""
    told = re.search(r"([\d,]+)(?:/| of )[\d,]+", output.shown[-1]["text/plain"])
    return int(told[1].replace(",", "")) if told else 0


def test_all_maps_of_a_cell_have_one_output_that_stays(kernel: Kernel) -> None:
    kernel.run(SLOW)

    output = kernel.run("slowly(1500); slowly(1400)")

    (shown,) = output.shown
    assert shown["text/plain"].splitlines()[0].startswith("slow  1,500/1,500 in ")
    assert shown["text/plain"].splitlines()[1].startswith("slow  1,400/1,400 in ")
    assert "1,499 completed" in shown["text/html"]
    assert "first failure: ValueError: no &lt;b&gt;such&lt;/b&gt; day" in shown["text/html"]
    assert not re.search("<script|<style|<b>|http|as of", shown["text/html"])
    assert output.result == {"text/plain": "[0, 1, 2]"}


def test_an_output_changes_four_times_a_second_at_most(kernel: Kernel) -> None:
    kernel.run(SLOW)

    output = kernel.run("slowly(3000)")

    (running, over) = output.displays[:-1], output.displays[-1]
    assert len(running) > 3
    assert running[0][2] - running[-1][2] <= -0.2 * (len(running) - 1)
    assert all("left" in data["text/plain"] for _, data, _ in running[1:])
    assert "left" not in over[1]["text/plain"]


def test_each_cell_has_an_output_of_its_own(kernel: Kernel) -> None:
    kernel.run(SLOW)

    one, two = kernel.run("slowly(1500)"), kernel.run("slowly(1600)")

    names = {name for output in (one, two) for name, _, _ in output.displays}
    assert len(names) == 2
    assert (done(one), done(two)) == (1500, 1600)


def test_a_map_is_shown_in_the_cell_that_started_it_though_another_one_runs(
    kernel: Kernel,
) -> None:
    kernel.run(SLOW)
    first = kernel.run("""
import asyncio

@flow
async def slowly_async(count):
    return len(await slow.map(range(count), on_error="collect"))

later = asyncio.create_task(slowly_async(2000))
""")

    second = kernel.run("print(await later)")

    shown = [m for m in second.elsewhere if "display_data" in m["msg_type"]]
    assert second.printed == "2000\n"
    assert not second.displays
    assert {m["parent_header"]["msg_id"] for m in shown} == {first.request}
    assert shown[-1]["content"]["data"]["text/plain"].startswith("slow  2,000/2,000")


def test_a_display_that_fails_harms_nothing(kernel: Kernel) -> None:
    kernel.run(SLOW)
    kernel.run("import IPython.display; IPython.display.display = None")

    output = kernel.run("slowly(1500)")

    assert output.result == {"text/plain": "[0, 1, 2]"}
    assert "Maps aren't shown any more" in output.streams["stderr"]
    assert "Completed in" in output.streams["stdout"]


@pytest.mark.parametrize("setting", ["plain", "off"])
def test_progress_can_be_plain_or_off(
    kernel: Kernel, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel.run(f"import os; os.environ['FANFOLD_PROGRESS'] = {setting!r}")
    kernel.run(SLOW)

    output = kernel.run("slowly(1500)")

    assert not output.displays


def test_log_lines_are_on_standard_output_and_those_of_elements_are_few(kernel: Kernel) -> None:
    output = kernel.run("""
import logging
from fanfold import flow, get_run_logger, task

@task(log_prints=True)
def talk(x):
    print("hello", x)
    get_run_logger().warning("careful")

@flow(task_runner="inline")
def chatter():
    talk.map(range(500)).wait()

chatter()
""")

    said, warned = output.streams["stdout"], output.streams["stderr"]
    assert "Flow run 'chatter' - Began" in said
    assert "Flow run 'chatter' - Completed" in said
    assert said.count("hello") == 100
    assert "More lines of elements aren't shown here, but in the history: fanfold runs logs" in said
    assert warned.count("careful") == 100
    assert "More warnings and errors of elements aren't shown here" in warned


STEADY = """
import time
from fanfold import flow, task

@task
def slow(x):
    with open({marks!r}, "a") as marks:
        marks.write(f"{{x}}\\n")
    time.sleep(0.05)
    return x

@flow(task_runner={runner!r})
def slowly(count):
    return sum(slow.map(range(count)).result())
"""


@pytest.mark.parametrize("runner", ["threads", "processes", "dask"])
def test_an_interrupt_stops_a_map_and_leaves_the_kernel_usable(
    kernel: Kernel, runner: str, tmp_path: Path
) -> None:
    marks = tmp_path / "marks"
    kernel.run(STEADY.format(marks=str(marks), runner=runner))

    # When it is interrupted while elements run
    output = kernel.run_interrupted(
        "slowly(20_000)", lambda output: bool(output.displays) and done(output) > 0
    )

    # Then it ends at once, what was shown is the truth, and nothing that waited starts
    assert output.error == "KeyboardInterrupt: "
    assert output.seconds < SOON_S
    (shown,) = output.shown
    assert "stopped after" in shown["text/html"]
    assert re.search(r"[\d,]+ cancelled", shown["text/plain"])
    begun = kernel.run(f"print(len(open({str(marks)!r}).readlines()))").printed
    later = kernel.run(f"time.sleep(0.5); print(len(open({str(marks)!r}).readlines()))").printed
    assert 0 < int(later) - 4 <= int(begun) < 20_000

    # And the next cell works
    assert kernel.run("slowly(20)").result == {"text/plain": "190"}


def test_a_million_elements_are_interrupted_as_fast(kernel: Kernel) -> None:
    kernel.run(SLOW)

    output = kernel.run_interrupted("slowly(1_000_000)", lambda output: bool(output.displays))

    assert output.error == "KeyboardInterrupt: "
    assert output.seconds < SOON_S
    assert kernel.run("slowly(20)").result == {"text/plain": "[0, 1, 2]"}


CACHED = """
from fanfold import flow, task
from fanfold.cache_policies import INPUTS, TASK_SOURCE

def helped(x):
    return x + {plus}

@task(cache_policy=INPUTS + TASK_SOURCE)
def count(x):
    return helped(x) * {times}

@flow(task_runner={runner!r})
def counted():
    futures = count.map(range(3))
    return futures.result(), dict(futures.states)

counted()
"""


@pytest.mark.parametrize("runner", ["threads", "processes", "dask"])
def test_a_cell_that_was_changed_gets_nothing_from_the_cache_of_its_old_code(
    kernel: Kernel, runner: str
) -> None:
    if runner == "dask":  # one for all flows, whose workers have seen the old code
        kernel.run("import distributed; client = distributed.Client(n_workers=1)")

    def counted(plus: int, times: int) -> str:
        return kernel.run(CACHED.format(plus=plus, times=times, runner=runner)).result["text/plain"]

    assert counted(1, 1) == "([1, 2, 3], {'Completed': 3})"
    assert counted(1, 1) == "([1, 2, 3], {'Cached': 3})"
    assert counted(1, 2) == "([2, 4, 6], {'Completed': 3})"
    assert counted(5, 1) == "([5, 6, 7], {'Completed': 3})"
    assert counted(1, 1) == "([1, 2, 3], {'Cached': 3})"


def test_a_helper_that_another_cell_changes_counts_as_well(kernel: Kernel) -> None:
    kernel.run(CACHED.format(plus=1, times=1, runner="threads"))
    kernel.run("def helped(x):\n    return x - 1")

    assert kernel.run("counted()").result["text/plain"] == "([-1, 0, 1], {'Completed': 3})"


def test_flows_and_maps_run_inside_the_kernels_own_loop(kernel: Kernel) -> None:
    kernel.run("""
import asyncio
from fanfold import flow, task

@task
async def wait(x):
    await asyncio.sleep(0.2)
    return 2 * x

@flow
async def waited(count):
    return sum(await wait.map(range(count)))

@flow
def waited_sync(count):
    return sum(wait.map(range(count)).result())
""")

    assert kernel.run("await waited(50)").result == {"text/plain": "2450"}
    assert kernel.run("waited_sync(50)").result == {"text/plain": "2450"}
    assert kernel.run("await wait(4)").result == {"text/plain": "8"}
    assert kernel.run("sum(wait.map(range(5)).result())").result == {"text/plain": "20"}
    both = "await asyncio.gather(waited(10), waited(20))"
    assert kernel.run(both).result == {"text/plain": "[90, 380]"}


def test_what_users_hold_is_shown_as_cards_without_secrets(kernel: Kernel) -> None:
    kernel.run("""
from fanfold import Secret, flow, task
from fanfold.artifacts import create_markdown_artifact, create_table_artifact
from fanfold.task_runners import ProcessTaskRunner

@task(tags=["<i>"])
def fail(x, key=Secret("swordfish")):
    raise ValueError(f"swordfish in {x}")

@flow
def failing():
    "Fails."
    futures = fail.map(range(5))
    futures.wait()
    return futures, create_table_artifact([{"a": "<b>", "b": 2}]), create_markdown_artifact("# A")

state = failing(return_state=True)
futures = fail.map(range(5))
futures.wait()
""")

    cells = ["failing", "fail", "state", "futures", "futures[0]", "futures[0].state",
             "futures.failed", "ProcessTaskRunner(max_workers=1)"]  # fmt: skip
    cards = [kernel.run(code).result for code in cells]

    assert all("<div" in card["text/html"] for card in cards)
    assert "swordfish" not in "".join(card["text/html"] for card in cards)
    assert "Fails." in cards[0]["text/html"]
    assert "&lt;i&gt;" in cards[1]["text/html"]
    assert "5 x fail: ValueError" in cards[3]["text/html"]
