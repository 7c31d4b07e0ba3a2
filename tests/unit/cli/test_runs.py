"""The command line as a user has it: `fanfold runs`."""

import json
import shlex
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from rich.cells import cell_len

from fanfold.engine import settings
from fanfold.engine.registry import history as open_history
from fanfold.ports.history import History
from fanfold.values.facts import LinesDropped, LogLine, Problem, TaskRunMade
from fanfold.values.ids import new_id
from fanfold.values.records import FlowRuns
from fanfold.values.states import StateName
from tests.unit.cli.commands import COLUMNS, run, seen
from tests.unit.cli.stories import Story, failed_run, problem

ENDS = [
    (StateName.COMPLETED, 0),
    (StateName.FAILED, 1),
    (StateName.CANCELLED, 3),
    (StateName.CRASHED, 4),
]


def rows(*words: str) -> list[list[str]]:
    return [line.split("\t") for line in run("runs", *words).stdout.splitlines()]


def names(*words: str) -> list[str]:
    return [row[2] for row in rows("ls", *words)]


def test_the_latest_run_comes_first_and_called_ones_only_when_asked_for(story: Story) -> None:
    first = story.flow_run("etl", "monday", state=StateName.COMPLETED)
    story.flow_run("load", "part", parent_id=first)
    story.flow_run("etl", "tuesday")

    assert names() == ["tuesday", "monday"]
    assert names("--all") == ["tuesday", "part", "monday"]
    assert names("--limit", "1") == ["tuesday"]
    assert rows("ls")[1][:4] == [first, "etl", "monday", "Completed"]


def test_runs_are_chosen_by_flow_state_tag_and_time(story: Story) -> None:
    story.flow_run("etl", "late", state=StateName.TIMED_OUT, tags=("a", "b"))
    story.flow_run("etl", "bad", state=StateName.FAILED, tags=("a",))
    story.flow_run("train", "good", state=StateName.COMPLETED)

    assert names("--state", "failed") == ["bad", "late"]
    assert names("--state", "TimedOut", "--state", "COMPLETED") == ["good", "late"]
    assert names("--flow", "train") == ["good"]
    assert names("--tag", "a", "--tag", "b") == ["late"]
    assert names("--since", "2min") == []
    assert names("--since", "1h") == ["good", "bad", "late"]
    assert names("--since", (datetime.now(UTC) + timedelta(days=1)).date().isoformat()) == []


def test_json_has_whole_ids_times_in_utc_and_states_by_name(story: Story) -> None:
    run_id = story.flow_run("etl", state=StateName.FAILED, problem=problem())

    (told,) = json.loads(run("runs", "ls", "--json").stdout)

    assert (told["id"], told["state"], told["problem"]["kind"]) == (run_id, "Failed", "ValueError")
    assert datetime.fromisoformat(told["created"]).tzinfo == UTC
    assert json.loads(run("runs", "ls", "--json", "--flow", "none").stdout) == []


def test_a_terminal_gets_rows_of_80_columns_whatever_runs_are_called(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = ["two\nlines\tand [red]", "\x1b[2Jgone", "漢字" * 50, "x" * 300]
    ids = [story.flow_run(name * 2, name) for name in hostile]

    lines = seen(monkeypatch, "runs", "ls")

    assert len(lines) == 1 + len(hostile)
    assert all(cell_len(line) <= COLUMNS for line in lines)
    assert [line.split()[0] for line in lines[1:]] == [each[:12] for each in reversed(ids)]
    assert lines[0].split() == ["Run", "Flow", "Name", "State", "Began", "Took"]
    assert all("Running" in line and "min ago" in line for line in lines[1:])


def test_a_run_is_found_by_id_its_beginning_its_name_its_flow_or_as_the_last(
    story: Story,
) -> None:
    old = story.flow_run("etl", "monday", run_id="aaaa00000000000000000001")
    new = story.flow_run("etl", "monday", run_id="aaaa11000000000000000001")
    story.flow_run("load", "part", run_id="bbbb00000000000000000001", parent_id=new)

    def found(*words: str) -> str:
        return json.loads(run("runs", "show", *words, "--json").stdout)["run"]["id"]

    assert found(old) == found("aaaa0") == old
    assert found("monday") == found("etl") == found("last") == found("-1") == found() == new
    assert found("load") == "bbbb00000000000000000001"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("show mondya", "There is no run mondya. Did you mean monday?"),
        ("show aaa", "There is no run aaa. At least 4 digits of an id are needed."),
        ("show aaaa", "Several runs have an id that begins with aaaa:\n  aaaa10000000  monday"),
        ("show monday -1", "Either RUN or -1, not both."),
        ("show --index 3", "--index needs --task"),
        ("show monday --task prase", "no task prase so far. Did you mean parse?"),
        ("show other --task prase", "no task prase. It has none."),
        ("show monday/parse[1]", "one: monday --task parse --index 1"),
        ("logs monday/parse", "To name a task of one: monday --task parse"),
        ("show monday --task parse --index 2", "no element 2 of parse: they are numbered from 0"),
        ("logs monday --level loud", "'loud' is no level."),
        ("ls --state faild", "There is no state faild. Did you mean failed?"),
        ("ls --since tomorrow", "'tomorrow' is neither so long ago"),
        ("cancel", "Which run?"),
        ("retry", "Which run?"),
    ],
)
def test_what_is_not_understood_is_told_with_what_is_near(
    story: Story, words: str, says: str
) -> None:
    story.flow_run("other", run_id="aaaa00000000000000000001", state=StateName.COMPLETED)
    monday = story.flow_run("etl", "monday", run_id="aaaa10000000000000000001")
    story.task_map(monday, [StateName.COMPLETED] * 2)

    assert says in run("runs", *words.split(), code=2).stderr


def test_a_failed_runs_page_says_what_failed_and_what_to_type_next(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = failed_run(story)

    lines = seen(monkeypatch, "runs", "show")

    assert all(cell_len(line) <= COLUMNS for line in lines)
    page = "\n".join(lines)
    assert "MapError: 3 of 1,000 elements of parse failed" in page
    assert "1,000  640 Completed, 357 Cached (35 %), 3 Failed        6" in page
    assert "    2  parse  997, 998  ValueError: bad date" in page
    assert "    1  parse  999       KeyError: no key 'title'" in page
    assert "report-2026" in page
    assert "Traceback of the flow" in page
    short = run_id[:12]
    assert lines[-4:] == [
        f"fanfold runs show {short} --task parse --index 997",
        f"fanfold runs logs {short} --task parse --index 997",
        f"fanfold runs debug '{short}/parse[997]'",
        f"fanfold runs retry {short}",
    ]
    for command in lines[-4:-2]:
        run(*shlex.split(command)[1:])


def test_a_run_that_was_called_wrongly_says_all_that_did_not_fit_and_no_frames_of_ours(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = "The flow etl can't be called like that:\n  n: no integer\n  name: no text"
    kind = "fanfold.values.errors.ParameterTypeError"
    wrong = problem(message, kind, where="")
    run_id = story.flow_run("etl", state=StateName.FAILED, message=message, problem=wrong)

    lines = seen(monkeypatch, "runs", "show")

    page = "\n".join(line.rstrip() for line in lines)
    assert "Message   The flow etl can't be called like that:\n            n: no integer\n" in page
    assert "name: no text" in page
    assert "Traceback" not in page
    assert lines[-2:] == [
        f"fanfold runs logs {run_id[:12]}",
        "fanfold run /home/ada/pipeline.py:main -p ...",
    ]


def test_a_traceback_of_our_own_frames_is_shown_when_it_tells_of_a_cause(story: Story) -> None:
    cause = "Traceback (most recent call last):\nOSError: gone\n\nThe above exception was ...\n"
    plain = problem("no room", where="")
    told = Problem(
        kind=plain.kind, message=plain.message, where="", traceback=f"{cause}\n{plain.traceback}"
    )
    story.flow_run("etl", state=StateName.FAILED, problem=told)

    assert "OSError: gone" in run("runs", "show").stdout


def test_a_task_of_a_run_that_is_over_takes_no_more_time_though_nobody_told_its_end(
    story: Story,
) -> None:
    run_id = story.flow_run("etl")
    story.tell(
        TaskRunMade(
            flow_run_id=run_id,
            task_run_id=new_id(),
            task="parse",
            name="parse",
            count=2,
            at_us=story.at_us,
        )
    )
    story.move(run_id, StateName.CANCELLED)

    assert ["parse", "2", "2 Pending", "", "1.0 s", ""] in rows("show")


def test_what_cannot_be_found_again_is_not_offered_to_be_run_again(story: Story) -> None:
    run_id = story.flow_run("etl", entrypoint="")
    story.task_map(run_id, [StateName.FAILED], failures={0: problem()}, entrypoint="")
    story.move(run_id, StateName.FAILED, problem=problem())

    page = run("runs", "show").stdout
    element = run("runs", "show", "--task", "parse", "--index", "0").stdout

    assert "fanfold runs logs" in page
    assert "fanfold runs debug" not in page + element
    assert "fanfold runs retry" not in page


def test_whoever_finds_no_run_hears_of_those_that_flows_called(story: Story) -> None:
    story.flow_run("load", parent_id=story.flow_run("etl"))

    assert (
        "--all looks at those that other flows called" in run("runs", "ls", "--flow", "load").stderr
    )
    assert run("runs", "ls", "--flow", "lod", "--all").stderr == "No run is like that.\n"


def test_the_page_of_an_element_has_its_traceback_its_attempts_and_its_log(story: Story) -> None:
    failed_run(story)

    page = run("runs", "show", "--task", "parse", "--index", "997").stdout

    assert "Element\tparse[997]" in page
    assert "State\tFailed" in page
    assert "Attempts\t3" in page
    assert 'File "pipeline.py", line 12, in parse\nValueError: bad date' in page
    assert page.count("odd date in line 3") == 3


def test_the_page_of_an_element_that_had_nothing_to_say_has_its_state(story: Story) -> None:
    failed_run(story)

    told = json.loads(run("runs", "show", "--task", "parse", "--index", "700", "--json").stdout)

    assert (told["state"], told["index"], told["element"]) == ("Cached", 700, None)
    assert "Call\tload\n" in run("runs", "show", "--task", "load").stdout


def test_the_page_of_a_task_says_what_its_elements_needed(story: Story) -> None:
    run_id = story.flow_run()
    story.task_map(run_id, [StateName.COMPLETED] * 100)
    story.task_map(run_id, [StateName.COMPLETED], task="load", single=True)

    of_map = run("runs", "show", "--task", "parse").stdout
    of_call = run("runs", "show", "--task", "load").stdout
    told = json.loads(run("runs", "show", "--task", "parse", "--json").stdout)

    memory = "up to 310 MiB (40 MiB more than before)"
    assert f"Needs\tcpu 250 ms, wall 500 ms per element, {memory}\n" in of_map
    assert f"Needs\tcpu 250 ms, wall 500 ms, {memory}\n" in of_call
    assert told["task_runs"][0]["cpu_s"] == 25.0


def test_an_index_counts_from_the_beginning_of_a_streamed_map(story: Story) -> None:
    run_id = story.flow_run()
    story.task_map(run_id, [StateName.COMPLETED] * 100)
    story.task_map(run_id, [StateName.FAILED] * 9, first=100, failures={5: problem()})

    page = run("runs", "show", "--task", "parse", "--index", "105").stdout

    assert "Element\tparse[105]" in page
    assert "bad date" in page
    assert "\tparse\t105, ...\t" not in run("runs", "show").stdout
    assert "\tparse\t105\t" in run("runs", "show").stdout


def test_an_index_of_several_maps_is_asked_for_again_with_their_ids(story: Story) -> None:
    run_id = story.flow_run()
    one, two = (story.task_map(run_id, [StateName.COMPLETED] * 3) for _ in range(2))

    said = run("runs", "show", "--task", "parse", "--index", "1", code=2).stderr

    assert f"{one}, {two}" in said
    assert "Element\tparse[1]" in run("runs", "show", "--task", two, "--index", "1").stdout
    lines = run("runs", "show", "--task", "parse").stdout.splitlines()
    assert [line.split("\t")[0] for line in lines[-2:]] == [one, two]


def test_lines_of_a_run_and_those_that_it_called_come_in_order(story: Story) -> None:
    failed_run(story)

    lines = run("runs", "logs").stdout.splitlines()

    assert [line.split("\t")[1:] for line in lines] == [
        ["INFO", "", "1,000 pages"],
        ["INFO", "load", "reading the index"],
        ["WARNING", "parse[997]", "odd date"],
        ["", "", "in line 3"],
        ["WARNING", "parse[997] attempt 2", "odd date"],
        ["", "", "in line 3"],
        ["WARNING", "parse[997] attempt 3", "odd date"],
        ["", "", "in line 3"],
        ["INFO", "report-2026", "written"],
    ]


@pytest.mark.parametrize(
    ("words", "messages"),
    [
        ("--tail 1", ["written"]),
        ("--tail 0", []),
        ("--grep odd --attempt 2", ["odd date\nin line 3"]),
        ("--task load", ["reading the index"]),
        ("--task parse --index 997 --tail 1", ["odd date\nin line 3"]),
        ("--task parse --index 3", []),
        ("--level warning", ["odd date\nin line 3"] * 3),
        ("--logger fanfold.flow_runs --all", ["1,000 pages", "written"]),
    ],
)
def test_lines_are_chosen(story: Story, words: str, messages: list[str]) -> None:
    failed_run(story)

    told = run("runs", "logs", "--json", *words.split()).stdout.splitlines()

    assert [json.loads(line)["message"] for line in told] == messages


def test_who_sees_only_a_part_of_a_log_is_told(story: Story) -> None:
    run_id = story.flow_run(state=StateName.COMPLETED)
    for number in range(3):
        story.log(run_id, f"line {number}")
    story.tell(LinesDropped(flow_run_id=run_id, count=1_200))

    result = run("runs", "logs", "--tail", "2")

    assert "The last 2 lines; --all shows all." in result.stderr
    assert "1,200 lines more weren't kept" in result.stderr
    assert "Dropped\t1,200 lines" in run("runs", "show").stdout


def test_a_terminal_gets_lines_with_local_times_below_the_day(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FANFOLD_LOGGING_COLORS", "false")
    run_id = story.flow_run()
    story.log(run_id, "one\ntwo \x1b[31m", logger="library.io")

    day, first, second = seen(monkeypatch, "runs", "logs")

    said = datetime.fromtimestamp(story.at_us // 1_000_000)
    assert day == said.strftime("%Y-%m-%d")
    assert first == f"{said:%H:%M:%S} | INFO    | library.io | one"
    assert second == "two \ufffd[31m"


@pytest.mark.parametrize(("state", "code"), ENDS)
def test_following_ends_with_the_run_and_exits_as_it_did(
    story: Story, state: StateName, code: int
) -> None:
    run_id = story.flow_run("etl", state=state)
    story.log(run_id, "the end")

    result = run("runs", "logs", "-f", code=code)

    assert result.stdout.endswith("\tthe end\n")
    assert result.stderr == f"etl is {state.label}.\n"
    assert run("runs", "logs").stdout == result.stdout
    run("runs", "show")


def test_following_shows_lines_once_as_they_come_also_of_runs_called_later(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = story.flow_run("etl")
    story.log(run_id, "before")
    steps = iter(
        [
            lambda: story.log(run_id, "meanwhile"),
            lambda: story.log(story.flow_run("load", parent_id=run_id), "from below"),
            lambda: story.move(run_id, StateName.COMPLETED),
        ]
    )
    # Instead of a second passes what happens in it.
    monkeypatch.setattr("fanfold.cli.loglines.time.sleep", lambda seconds: next(steps)())

    lines = run("runs", "logs", "-f").stdout.splitlines()

    assert [line.split("\t")[2:] for line in lines] == [
        ["", "before"],
        ["", "meanwhile"],
        ["load", "from below"],
    ]


def test_whoever_stops_following_gets_no_traceback(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    story.flow_run("etl")

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fanfold.cli.loglines.time.sleep", interrupted)

    assert run("runs", "logs", "-f", code=130).output == ""


def test_a_run_is_asked_to_stop_and_waited_for(story: Story, history: History) -> None:
    run_id = story.flow_run("etl")
    stopped = threading.Event()

    def driver() -> None:
        while not history.cancelled(story.owner):
            stopped.wait(0.01)
        story.move(run_id, StateName.CANCELLED)

    thread = threading.Thread(target=driver)
    thread.start()

    said = run("runs", "cancel", "etl").stdout

    thread.join(30)
    assert said == f"etl ({run_id[:12]}) is Cancelled.\n"


def test_a_run_that_is_over_cannot_be_cancelled(story: Story) -> None:
    done = story.flow_run("done", state=StateName.COMPLETED)
    running = story.flow_run("etl")

    said = run("runs", "cancel", "--no-wait", "etl", "done", code=1).stdout

    assert said.splitlines()[0] == f"etl ({running[:12]}) was asked to stop."
    assert said.splitlines()[1].startswith(f"done ({done[:12]}) is over already: Completed ")
    assert "State\tRunning (asked to stop)" in run("runs", "show", "-1").stdout


def test_a_run_that_does_not_stop_in_time_is_told(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fanfold.cli.runs.WAIT_S", 0.05)
    story.flow_run("etl")

    (told,) = json.loads(run("runs", "cancel", "-1", "--json", code=1).stdout)

    assert (told["asked"], told["run"]["state"]) == (True, "Running")
    assert "is still Running after 50 ms" in told["message"]


def test_a_run_whose_process_is_gone_is_shown_as_crashed(story: Story, history: History) -> None:
    run_id = story.flow_run("etl")
    history.abandon(story.owner)

    assert rows("ls")[0][3] == "Crashed"
    assert history.read(FlowRuns(ids=(run_id,)))[0].state is StateName.CRASHED


def test_a_history_that_cannot_be_read_or_is_off_is_told_with_its_exit_code(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.outage = "no space"  # type: ignore[attr-defined]
    assert "no space" in run("runs", "ls", code=1).stderr

    monkeypatch.setenv("FANFOLD_HISTORY_URL", "off")
    assert "No history is kept" in run("runs", "ls", code=2).stderr


def test_an_empty_history_says_so_and_is_no_failure(history: History) -> None:
    assert run("runs", "ls").stderr == "There is no run yet.\n"
    assert "No run is like that." in run("runs", "ls", "--state", "failed").stderr
    assert run("runs", "show", code=2).stderr == "Error: There is no run yet.\n"


def test_who_reads_only_the_first_lines_breaks_nothing(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{settings.home()}/history.db"
    monkeypatch.setenv("FANFOLD_HISTORY_URL", url)
    kept = open_history(url)
    teller = Story(kept)
    run_id = teller.flow_run()
    line = partial(LogLine, flow_run_id=run_id, level=20, logger="fanfold.flow_runs", at_us=0)
    teller.tell(*(line(message="x" * 100) for _ in range(3_000)))
    kept.close()

    command = [sys.executable, "-m", "fanfold.cli", "runs", "logs", "--all"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()

    assert said == b""
