"""Secrets in texts: masked wherever they stand, and nothing else."""

import dataclasses
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any, get_args

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold.display.logs import LINE
from fanfold.engine import settings
from fanfold.engine.recording import masking
from fanfold.engine.recording.masking import MASK, TEXTS, heed, learn, mask, masked
from fanfold.engine.telling import Formatter
from fanfold.values import secrets
from fanfold.values.facts import (
    ArtifactMade,
    Fact,
    FlowRunMade,
    FlowRunMoved,
    FlowRunNamed,
    KeyTold,
    LogLine,
    Problem,
)
from fanfold.values.secrets import Known, Secret
from fanfold.values.states import StateName

CODE = frozenset(
    {
        *("artifact_id", "chunk", "entrypoint", "flow", "flow_run_id", "host", "key", "kind"),
        *("logger", "of", "owner", "parent_id", "parent_task_run_id", "retry_of", "stream", "task"),
        *("task_run_id", "version", "where", "worker"),
    }
)
"""Fields of facts that name things; nobody writes a secret there."""


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> Iterator[Known]:
    """Nothing is known but what the test makes known."""
    known = Known()
    monkeypatch.setattr(secrets, "KNOWN", known)
    monkeypatch.setattr(masking, "KNOWN", known)
    yield known


def line(message: str, **fields: Any) -> LogLine:
    return LogLine(flow_run_id="run", level=20, logger="x", message=message, at_us=1, **fields)


def test_a_secret_that_was_made_is_masked_and_a_short_one_is_not() -> None:
    Secret("hunter2")
    Secret("abc")

    assert mask("abc: hunter2, hunter2!") == f"abc: {MASK}, {MASK}!"


def test_a_text_without_secrets_stays_the_object_that_it_is() -> None:
    Secret("hunter2")
    text, fact = "nothing to see here", line("nothing to see here")

    assert mask(text) is text
    assert masked(fact) is fact


@pytest.mark.parametrize(
    ("known", "text", "shown"),
    [
        (("pass", "password"), "password pass", f"{MASK} {MASK}"),
        (("abcdef", "defghi"), "-abcdefghi-", f"-{MASK}-"),
        (("xabcd", "abcdefgh"), "xabcdefgh", MASK),
        (("abcd",), "abcdabcd", MASK + MASK),
        (("aaaa",), "aaaaaa", MASK),
    ],
)
def test_of_secrets_that_overlap_nothing_is_left(
    known: tuple[str, ...], text: str, shown: str
) -> None:
    for secret in known:
        Secret(secret)

    assert mask(text) == shown


@given(st.lists(st.text("abc", min_size=4, max_size=8), max_size=6), st.text("abc ", max_size=60))
def test_no_secret_is_left_in_any_text(hidden: list[str], text: str) -> None:
    known = Known()
    for secret in hidden:
        known.add(secret)

    spans = known.spans(text)
    shown = masking._covered(text, spans) if spans else text

    assert not any(secret in shown for secret in hidden)


@pytest.mark.parametrize(
    "wrapped",
    [json.dumps, repr, lambda secret: f"https://me:{secret}@host", json.dumps],
    ids=["json", "repr", "plain", "json again"],
)
def test_a_secret_is_found_as_others_write_it(wrapped: Any) -> None:
    hidden = 'geheim"\n\\ä'
    Secret(hidden)

    shown = mask(wrapped(hidden))

    assert "geheim" not in shown


def test_a_secret_is_found_in_a_url() -> None:
    Secret("p@ss/word")

    assert mask("https://me:p%40ss%2Fword@host") == f"https://me:{MASK}@host"


def test_what_the_patterns_of_the_settings_match_is_masked() -> None:
    with settings.temporary({"logging.masked": [r"ghp_\w+", r"\d{4}-\d{4}"]}):
        assert mask("token ghp_abc card 1234-5678") == f"token {MASK} card {MASK}"
    assert mask("token ghp_abc") == "token ghp_abc"


def test_the_patterns_of_a_run_hold_for_its_facts_in_any_thread() -> None:
    with settings.temporary({"logging.masked": ["s3cr.t"]}):
        heed("run")
    done: list[Any] = []

    thread = threading.Thread(target=lambda: done.append(masked(line("a s3cret"))))
    thread.start()
    thread.join(20)

    assert done[0].message == f"a {MASK}"


def test_secrets_of_pydantic_count_wherever_they_are_among_parameters() -> None:
    class Login(pydantic.BaseModel):
        password: pydantic.SecretStr

    learn(
        {
            "login": [Login(password=pydantic.SecretStr("hunter2"))],
            "key": pydantic.SecretBytes(b"\xffkey1"),
        }
    )

    assert mask("hunter2 b'\\xffkey1'") == f"{MASK} b'{MASK}'"


def test_every_text_of_a_fact_is_masked_and_its_ids_are_not() -> None:
    Secret("hunter2")
    problem = Problem(
        kind="ValueError", message="hunter2", where="a.py:1 in f", traceback="at hunter2"
    )

    moved = masked(
        FlowRunMoved(
            flow_run_id="hunter2",
            state=StateName.FAILED,
            message="hunter2",
            problem=problem,
            at_us=1,
        )
    )
    named = masked(
        FlowRunNamed(flow_run_id="run", name="run hunter2", parameters={"x": "'hunter2'"})
    )
    made = masked(
        FlowRunMade(flow_run_id="r", flow="f", name="n", owner="o", tags=("hunter2", "a"), at_us=1)
    )

    assert (moved.flow_run_id, moved.message) == ("hunter2", MASK)
    assert moved.problem == dataclasses.replace(problem, message=MASK, traceback=f"at {MASK}")
    assert (named.name, named.parameters) == (f"run {MASK}", {"x": f"'{MASK}'"})
    assert made.tags == (MASK, "a")


def test_each_field_of_facts_that_holds_text_is_known_to_be_masked_or_a_name() -> None:
    kinds = [*get_args(Fact), Problem]
    texts = {
        field.name
        for kind in kinds
        for field in dataclasses.fields(kind)
        if "str" in str(field.type) or "Problem" in str(field.type)
    }

    assert texts == TEXTS | CODE
    assert not TEXTS & CODE


def test_digests_of_parts_stay_but_not_what_a_name_tells() -> None:
    Secret("1234abcd")

    told = masked(
        KeyTold(flow_run_id="run", of="call", parts={"x['1234abcd']": "d1234abcd", "y": "0"})
    )

    assert told.parts == {f"x['{MASK}']": "d1234abcd", "y": "0"}


def test_data_of_an_artifact_stay_json() -> None:
    Secret("1234")
    Secret('a"bc')
    data = json.dumps([{"n": 12345, "text": 'say a"bc', "1234": True, "f": 1.5}])

    made = masked(
        ArtifactMade(flow_run_id="", artifact_id="1234", kind="table", data=data, at_us=1)
    )

    assert json.loads(made.data) == [{"n": f"{MASK}5", "text": f"say {MASK}", MASK: True, "f": 1.5}]


def test_lines_on_a_terminal_are_masked_but_not_what_is_in_front_of_them() -> None:
    Secret("hunter2")
    formatter = Formatter(LINE, "%H:%M:%S")
    try:
        raise ValueError("with hunter2")
    except ValueError as error:
        record = logging.LogRecord(
            "x", logging.INFO, "", 0, "say %s", ("hunter2 1",), (type(error), error, None)
        )

    plain = Formatter(LINE, "%H:%M:%S").format(logging.LogRecord("x", 20, "", 0, "a", (), None))
    with settings.temporary({"logging.masked": [r"\d"]}):
        shown = formatter.format(record)

    assert shown.splitlines()[0].endswith(f"| INFO    | say {MASK} {MASK}")
    assert shown.splitlines()[-1] == f"ValueError: with {MASK}"
    assert shown[2] == plain[2] == ":"
    assert record.getMessage() == "say hunter2 1"


def test_secrets_can_be_made_while_texts_are_masked(known: Known) -> None:
    Secret("first-one")
    wrong: list[str] = []
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            if "first-one" in mask("is first-one here"):
                wrong.append("seen")

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(2_000):
        Secret(f"number-{number}")
    over.set()
    for thread in threads:
        thread.join(20)

    assert not wrong
    assert mask("number-0 number-1999") == f"{MASK} {MASK}"
