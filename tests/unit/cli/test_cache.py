"""The command line as a user has it: `fanfold cache`."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fanfold import flow, task
from fanfold.adapters.results.fsspec_store import FsspecStore
from fanfold.cache_policies import INPUTS, TASK_SOURCE
from fanfold.cli.__main__ import fanfold
from fanfold.engine.recording.recorder import close_all
from fanfold.engine.results.object_names import is_segment
from fanfold.ports.history import History
from fanfold.values.records import FlowRuns
from tests.unit.cli.commands import run, seen

pytestmark = pytest.mark.usefixtures("history")

COUNT = 5


@dataclass
class Config:
    depth: int = 1
    names: tuple[str, ...] = ("a", "b")


class Rate:
    """Something that functions read as a global, and that tests change."""

    value = 1


def helper(x: int) -> int:
    return x * Rate.value


@task(cache_policy=INPUTS + TASK_SOURCE)
def double(x: int, depth: int = 1) -> int:
    return helper(x) + depth


@task(cache_policy=INPUTS)
def single(config: Config, day: str = "mo") -> int:
    return config.depth


@task(cache_policy=INPUTS, cache_expiration=timedelta(microseconds=1))
def short_lived(x: int) -> int:
    return x


@task(persist_result=True)
def by_run(x: int) -> int:
    return x


@task(result_storage_key="models/{parameters[x]}.pkl", cache_policy=INPUTS)
def model(x: int) -> int:
    return x


@task(cache_policy=INPUTS)
async def later(x: int) -> int:
    await asyncio.sleep(0)
    return x


@task
def plain(x: int) -> int:
    return x


@flow(log_prints=False)
def main(act: Callable[[], Any]) -> None:
    act()


def ran(history: History, act: Callable[[], Any]) -> str:
    """Run something in a flow; return the run's id once all of it is recorded."""
    main(act)
    assert close_all()
    return history.read(FlowRuns(limit=1))[0].id


def told(*words: str, code: int = 0) -> Any:
    """Return what a command says as JSON."""
    return json.loads(run("cache", *words, "--json", code=code).stdout)


def results() -> FsspecStore:
    return FsspecStore(str(Path("home/results").absolute()))


def mapped(count: int = COUNT, **arguments: Any) -> None:
    double.map(range(count), **arguments).result()


def test_tasks_are_listed_with_what_is_kept_of_them(history: History) -> None:
    ran(history, lambda: (mapped(), single(Config())))

    lines = run("cache", "ls").stdout.splitlines()
    listed = told("ls")

    assert [line.split("\t")[1:3] for line in lines] == [[str(COUNT), "0"], ["1", "0"]]
    assert [each["task"].rpartition("-")[0] for each in listed] == ["double", "single"]
    assert listed[0]["results"] == COUNT
    assert listed[0]["size_bytes"] == sum(
        each.size_bytes for each in results().listing(f"tasks/{listed[0]['task']}/")
    )


def test_results_of_a_task_are_listed_by_its_name_or_folder(history: History) -> None:
    run_id = ran(history, lambda: (mapped(), single(Config())))
    folder = told("ls")[0]["task"]

    listed = told("ls", "double")

    assert len(listed) == COUNT
    assert told("ls", folder, "-n", "2") == listed[:2]
    assert {(each["state"], each["codec"], each["ended"]) for each in listed} == {
        ("kept", listed[0]["codec"], "Completed")
    }
    assert {each["expires"] for each in listed} == {None}
    assert history.read(FlowRuns(ids=(run_id,)))


def test_a_terminal_shows_what_is_kept(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    ran(history, mapped)

    lines = seen(monkeypatch, "cache", "ls")

    assert lines[0].split() == ["Task", "Results", "Expired", "Size", "Indexes", "Newest"]
    assert lines[1].startswith("double-")


def test_a_task_of_which_nothing_is_kept_is_told_with_the_nearest_one(history: History) -> None:
    ran(history, mapped)

    complaint = run("cache", "ls", "duoble", code=2).stderr

    assert "Nothing is kept of a task duoble. Did you mean double?" in complaint


def test_an_empty_store_is_told() -> None:
    assert "Nothing is kept in" in run("cache", "ls").stderr
    assert told("ls") == []


def test_another_store_is_looked_at_by_its_url(history: History, tmp_path: Path) -> None:
    ran(history, lambda: double.with_options(result_storage=str(tmp_path / "there"))(1))

    assert told("ls") == []
    assert [each["results"] for each in told("ls", "--storage", str(tmp_path / "there"))] == [1]


def test_a_file_that_is_named_as_the_store_is_told_as_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "flow.py").touch()

    for command in ("ls", "verify"):
        complaint = run("cache", command, "--storage", str(tmp_path / "flow.py"), code=2).stderr
        assert "name a folder" in complaint


def test_a_folder_that_is_not_there_and_the_memory_of_others_are_told_as_mistakes(
    tmp_path: Path,
) -> None:
    folder = str(tmp_path / "nowhere")

    missing = run("cache", "ls", "--storage", folder, code=2).stderr
    others = run("cache", "ls", "--storage", "memory://mine", code=2).stderr

    assert missing == f"Error: There is no folder {folder}.\n"
    assert "memory://mine is in the memory of each process" in others


def test_statistics_tell_sizes_and_hits(history: History) -> None:
    ran(history, lambda: (mapped(), by_run(1)))
    ran(history, lambda: (mapped(2 * COUNT), by_run(1)))

    stats = told("stats")
    page = run("cache", "stats").stdout

    assert stats["hits"] == {"double": [COUNT, 2 * COUNT]}
    assert [each["results"] for each in stats["tasks"]] == [2, 2 * COUNT]
    assert "double\t5\t10\t33 %" in page
    assert told("stats", "--storage", str(Path("home/results").absolute()))["hits"] == {}


def test_removed_results_are_made_anew_and_others_are_not(history: History) -> None:
    ran(history, lambda: (mapped(), single(Config())))
    key = told("ls", "double")[0]["key"]

    removed = told("rm", "double", "--key", key[:20], "--yes")

    again = ran(history, lambda: (mapped(), single(Config())))
    assert removed["counts"] == {"named": 1}
    counts = run("runs", "show", again).stdout
    assert f"{COUNT - 1} Cached" in counts
    assert told("stats")["hits"] == {"double": [COUNT - 1, COUNT + 1], "single": [1, 1]}


def test_results_of_a_run_are_removed(history: History) -> None:
    first = ran(history, mapped)
    ran(history, lambda: mapped(2 * COUNT))

    removed = told("rm", "--run", first, "--yes")

    assert removed["counts"] == {"named": COUNT}
    assert [each["results"] for each in told("ls")] == [COUNT]


def test_nothing_is_removed_without_an_answer(history: History) -> None:
    ran(history, mapped)

    dry = told("rm", "double", "--dry-run")
    refused = run("cache", "rm", "double", code=2)

    assert (dry["removed"], dry["counts"]) == (False, {"named": COUNT})
    assert f"Would remove {COUNT} results (as named)" in refused.stdout
    assert refused.stderr == "Error: Nothing was removed: say --yes.\n"
    assert told("rm", "double", code=2)["counts"] == {"named": COUNT}
    assert run("cache", "rm", code=2).stderr.count("Which results?") == 1
    assert told("ls")[0]["results"] == COUNT


def test_nothing_is_removed_where_the_answer_is_no(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran(history, mapped)
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda self: True)

    refused = CliRunner().invoke(fanfold, ["cache", "rm", "double"], input="n\n")

    assert refused.exit_code == 1
    assert refused.stderr.endswith("Error: Nothing was removed.\n")
    assert "Usage:" not in refused.stderr
    assert told("ls")[0]["results"] == COUNT


def test_an_object_that_a_user_named_goes_only_when_it_is_named(history: History) -> None:
    ran(history, lambda: model(7))

    assert told("gc", "--older-than", "0s", "--max-size", "0", "--grace", "0s")["counts"] == {}
    assert results().names("models/") == ["models/7.pkl"]
    assert told("rm", "model", "--yes")["objects"][0] == "models/7.pkl"
    assert results().names("models/") == []


def test_what_has_expired_is_collected(history: History) -> None:
    ran(history, lambda: (short_lived.map(range(COUNT)).result(), mapped()))
    shown = {each["state"] for each in told("ls", "short_lived")}

    dry = told("gc", "--dry-run")
    collected = told("gc")

    assert shown == {"expired"}
    assert dry == collected | {"removed": False}
    assert collected["counts"] == {"expired": COUNT}
    assert [each["results"] for each in told("ls")] == [COUNT]
    assert told("gc")["objects"] == []


def test_what_was_never_committed_is_collected_after_the_grace(history: History) -> None:
    ran(history, mapped)
    folder = told("ls")[0]["task"]
    staged = f"tasks/{folder}/segments/run/chunk.1"
    results().write(staged, [b"staged"])

    early, late = told("gc"), told("gc", "--grace", "0s")

    assert early["objects"] == []
    assert late["objects"] == [staged]
    assert told("ls")[0]["results"] == COUNT


def test_what_a_killed_writer_left_is_collected_after_the_grace(history: History) -> None:
    ran(history, mapped)
    root = Path(str(results()))
    left = [root / "flows" / f".tmp-{'0' * 32}", next(root.glob("tasks/*")) / f".tmp-{'f' * 32}"]
    left[0].parent.mkdir(exist_ok=True)
    theirs = left[0].with_name(".tmp-of-another-program")
    for path in (*left, theirs):
        path.write_bytes(b"half")

    early, late = told("gc"), told("gc", "--grace", "0s")

    assert early["objects"] == []
    assert late["objects"] == [path.relative_to(root).as_posix() for path in left]
    assert late["freed_bytes"] == 8
    assert [path.exists() for path in (*left, theirs)] == [False, False, True]


def test_the_oldest_go_for_a_size(history: History) -> None:
    ran(history, lambda: (mapped(), mapped(depth=2)))
    size = told("ls")[0]["size_bytes"]

    assert told("gc", "--max-size", f"{size}")["counts"] == {}
    assert told("gc", "--max-size", "0kB")["counts"] == {"beyond the size": 2 * COUNT}
    assert run("cache", "gc", "--max-size", "many", code=2).stderr.count("is no size") == 1


def test_what_no_run_refers_to_is_collected(history: History) -> None:
    ran(history, lambda: (by_run(1), mapped()))
    known = told("gc", "--unreferenced", "--grace", "0s")["counts"]
    run("db", "prune", "--older-than", "0s")
    ran(history, lambda: mapped(1))

    found = told("gc", "--unreferenced", "--grace", "0s", "--dry-run")["counts"]
    run("db", "prune", "--older-than", "0s")
    unknown = told("gc", "--unreferenced", "--grace", "0s")["counts"]

    assert known == {}
    assert found == {"of no run": 1}, "a run has found results of double"
    assert unknown == {"of no run": COUNT + 1}
    assert told("ls") == []


def test_a_whole_store_is_found_right(history: History) -> None:
    ran(history, lambda: (mapped(), single(Config()), model(1)))

    assert told("verify") == []
    assert "All is as it was committed, in 3 tasks." in run("cache", "verify").stderr


@pytest.mark.parametrize("quick", [False, True])
def test_what_is_not_as_it_was_committed_is_told(history: History, quick: bool) -> None:
    ran(history, lambda: (mapped(COUNT), mapped(1, depth=9), by_run.map(range(2)).result()))
    store = results()
    double_folder, by_run_folder = (next(
        each["task"] for each in told("ls") if each["task"].startswith(name)
    ) for name in ("double", "by_run"))  # fmt: skip
    short, *_, missing = store.names(f"tasks/{double_folder}/segments/")
    (index,) = store.names(f"tasks/{by_run_folder}/index/")
    store.write(short, [b""])
    store.remove([missing])
    store.write(index, [b"FFIX" + bytes(200)])

    bad = told("verify", *(["--quick"] if quick else []), code=1)

    problems = {each["object"]: each["problem"] for each in bad if not each["harmless"]}
    assert problems[short] == "is damaged: it doesn't hold what was committed"
    assert problems[missing] == "is missing"
    assert "version" in problems[index]
    assert told("gc", "--unreadable")["counts"] == {"unreadable": 1}


def test_a_changed_byte_is_found_by_reading(history: History) -> None:
    ran(history, lambda: mapped(1))
    store = results()
    (name,) = store.names("tasks/")[-1:]
    whole = bytearray(store.read(name))
    whole[0] ^= 1
    store.write(name, [whole])

    assert [each["results"] for each in told("verify", code=1)] == [1]
    assert told("verify", "--quick") == []


def test_what_was_damaged_is_no_problem_once_it_was_made_again(history: History) -> None:
    ran(history, lambda: mapped(1))
    store = results()
    (name,) = [name for name in store.names("tasks/") if is_segment(name)]
    store.write(name, [b"damaged"])
    bad = run("cache", "verify", code=1).stderr
    ran(history, lambda: mapped(1))

    (left,) = told("verify")

    assert "1 problem found, in 1 task." in bad and "made again when it is needed" in bad
    assert (left["object"], left["harmless"]) == (name, True)
    assert "`fanfold cache gc` removes what is left" in left["problem"]
    assert told("gc")["counts"] == {"replaced": 1}
    assert told("verify") == []


def explained(one: str, other: str = "") -> Any:
    return told("explain", one, *([other] if other else []))


def parts(one: str, other: str) -> list[str]:
    return [each["part"] for each in explained(one, other)["differences"]]


def test_what_a_key_was_made_from_is_told(history: History) -> None:
    run_id = ran(history, lambda: single(Config(), day="tu"))

    (call,) = explained("last/single")["calls"]

    assert (call["run"], call["state"], call["index"]) == (run_id, "Completed", None)
    assert list(call["parts"]) == [
        "task",
        "policy",
        "argument config.depth",
        "argument config.names[0]",
        "argument config.names[1]",
        "argument day",
    ]
    assert call["parts"]["policy"] == "INPUTS"
    assert call["key"] == told("ls", "single")[0]["key"]
    assert call["kept"].startswith("yes, made ")


def test_an_argument_that_differs_is_named_by_its_path(history: History) -> None:
    ran(history, lambda: (single(Config()), single(Config(names=("a", "c")), day="tu")))

    assert parts("last/single[0]", "last/single[1]") == [
        "argument config.names[1]",
        "argument day",
    ]


def test_elements_of_a_map_differ_by_what_is_mapped(history: History) -> None:
    first = ran(history, mapped)
    ran(history, lambda: mapped(depth=2))

    assert parts("last/double[1]", "last/double[3]") == ["argument x"]
    assert parts(f"{first}/double[1]", "last/double[1]") == ["argument depth"]


def test_async_elements_that_wait_for_equal_ones_are_told_apart(history: History) -> None:
    inputs = [1, 1, 2, 1, 3]
    ran(history, lambda: later.map(plain.map(inputs)).result())

    digests = [
        explained(f"last/later[{index}]")["calls"][0]["parts"]["argument x"] for index in range(5)
    ]

    assert [digests.index(each) for each in digests] == [0, 0, 2, 0, 4]


def test_code_that_differs_is_named(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ran(history, mapped)
    monkeypatch.setattr(Rate, "value", 2)
    second = ran(history, mapped)
    monkeypatch.setitem(globals(), "helper", lambda x: x)
    third = ran(history, mapped)

    assert parts(f"{first}/double[1]", f"{second}/double[1]") == ["code: Rate.value"]
    changed = parts(f"{second}/double[1]", f"{third}/double[1]")
    assert {"code: global helper", "code: helper's body"} <= {*changed}


def test_what_policies_add_is_named(history: History) -> None:
    first = ran(history, lambda: by_run(1))
    second = ran(history, lambda: by_run(1))

    (only,) = explained(f"{first}/by_run", f"{second}/by_run")["differences"]

    assert only == {"part": "RUN_ID", "one": first, "other": second}


def test_the_same_key_is_told_with_why_the_second_ran_or_not(history: History) -> None:
    first = ran(history, lambda: single(Config()))
    second = ran(history, lambda: single(Config()))
    third = ran(history, lambda: single.with_options(refresh_cache=True)(Config()))

    found, anew = (
        run("cache", "explain", f"{first}/single", f"{each}/single").stdout
        for each in (second, third)
    )

    assert "The keys are the same, and the second came back Cached." in found
    assert "The second ran all the same" in anew


def test_what_no_key_is_recorded_of_is_told(history: History) -> None:
    ran(history, lambda: (plain(1), mapped(150), model.with_options(cache_policy=None)(1)))

    assert "it has none" in run("cache", "explain", "last/plain", code=2).stderr
    assert "name that result_storage_key" in run("cache", "explain", "last/model", code=2).stderr
    assert "first 100 elements" in run("cache", "explain", "last/double[149]", code=2).stderr
    assert "names no call" in run("cache", "explain", "last", code=2).stderr
    assert "INDEX is a number" in run("cache", "explain", "last/double[x]", code=2).stderr
    assert explained("last/double[99]")["calls"][0]["index"] == 99
    twice = ran(history, lambda: (mapped(), mapped()))
    several = run("cache", "explain", "last/double[0]", code=2).stderr
    assert f"Write {twice[:12]}/ID[0] with one of their ids: " in several


def test_a_terminal_shows_what_differs(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    ran(history, lambda: (single(Config()), single(Config(), day="tu")))

    lines = seen(monkeypatch, "cache", "explain", "last/single[0]", "last/single[1]")

    assert any(line.startswith("Differs") for line in lines)
    assert any(line.startswith("argument day") for line in lines)
