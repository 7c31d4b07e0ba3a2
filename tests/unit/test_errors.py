"""Exceptions as a user sees them: of their own type, and their own code first in the traceback."""

import asyncio
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fanfold
from fanfold import flow, task

OURS = str(Path(fanfold.__file__).parent)


class Mine(Exception):
    pass


def deepest() -> None:
    raise Mine("mine")


def users(*_: Any) -> None:
    deepest()


async def users_later(*_: Any) -> None:
    deepest()


WAYS: dict[str, Callable[[], Any]] = {
    "task called": lambda: task(users)(),
    "task awaited": lambda: asyncio.run(task(users_later)()),
    "task submitted": lambda: flow(lambda: task(users).submit().result())(),
    "task submitted outside a flow": lambda: task(users).submit().result(),
    "async task submitted": lambda: task(users_later).submit().result(),
    "task mapped": lambda: flow(lambda: task(users).map([1]).result())(),
    "task retried": lambda: task(retries=2)(users)(),
    "task called in a task": lambda: task(lambda: task(users)())(),
    "flow called": lambda: flow(users)(),
    "flow awaited": lambda: asyncio.run(flow(users_later)()),
    "flow called in a flow": lambda: flow(lambda: flow(users)())(),
    "returned future": lambda: flow(lambda: task(users).submit())(),
}


@pytest.mark.parametrize("way", WAYS)
def test_an_exception_comes_out_as_itself_with_the_users_frames_below_the_call(way: str) -> None:
    with pytest.raises(Mine) as caught:
        WAYS[way]()

    frames = traceback.extract_tb(caught.value.__traceback__)
    assert [frame.name for frame in frames[-2:]] in (
        ["users", "deepest"],
        ["users_later", "deepest"],
    )
    in_ours = [frame.name for frame in frames if frame.filename.startswith(OURS)]
    assert len(in_ours) <= 6, in_ours
    machinery = {"drive", "drive_async", "perform", "_called", "plainly", "one_by_one", "run"}
    assert not machinery & set(in_ours) - {"run"}
