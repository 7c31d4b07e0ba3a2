"""Thousands of names that several processes create at once: each has one winner, whom all know."""

import json
import subprocess
import sys
from collections import Counter

import pytest

from tests.stores.places import ROOT, S3Place

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

WRITERS = 8
KEYS = 10_000
ROUND = 250
"""Keys between two barriers, so that no writer gets far ahead of the others."""


def test_of_eight_processes_that_create_ten_thousand_names_one_wins_each(s3: S3Place) -> None:
    options = {**s3.options, "anon": True}  # signing takes a third of the time of a request
    writers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.torture.racer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for _ in range(WRITERS)
    ]
    won: dict[str, list[int]] = {}
    try:
        for number, writer in enumerate(writers):
            say(writer, json.dumps([s3.url(), options, number]))
        for writer in writers:
            assert hear(writer) == "ready"
        s3.control.forget()
        for first in range(0, KEYS, ROUND):
            names = [f"turns/{turn:05}" for turn in range(first, first + ROUND)]
            for writer in writers:
                say(writer, json.dumps(names))
            for number, writer in enumerate(writers):
                for name in json.loads(hear(writer)):
                    won.setdefault(name, []).append(number)
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()

    store = s3.store()
    names = store.names("turns/")
    assert len(names) == KEYS
    assert {name: len(winners) for name, winners in won.items()} == dict.fromkeys(names, 1)
    assert s3.control.requests("PutObject", prefix="results/turns/") == WRITERS * KEYS
    sample = names[:: KEYS // 500]
    assert [store.read(name) for name in sample] == [b"%d" % won[name][0] for name in sample]
    assert min(Counter(winners[0] for winners in won.values()).values()) > 0


def say(writer: "subprocess.Popen[str]", line: str) -> None:
    assert writer.stdin is not None
    writer.stdin.write(line + "\n")
    writer.stdin.flush()


def hear(writer: "subprocess.Popen[str]") -> str:
    assert writer.stdout is not None
    return writer.stdout.readline().strip()
