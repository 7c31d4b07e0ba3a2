"""What plug-ins may ask about the run around their caller."""

import asyncio
from typing import Any

from fanfold import flow, task
from fanfold.adapters.runners.threads import ThreadPoolTaskRunner
from fanfold.ports.surroundings import surroundings


def seen() -> tuple[Any, bool]:
    around = surroundings()
    return around.session(), around.waiting() is not None


@task
def look() -> tuple[Any, bool]:
    return seen()


@task
def look_while_waiting() -> Any:
    waiting = surroundings().waiting()
    assert waiting is not None
    with waiting:
        return look.submit().result()


def test_outside_of_runs_there_is_nothing() -> None:
    assert seen() == (None, False)


def test_a_flow_and_what_it_calls_directly_have_its_session() -> None:
    @flow(task_runner="threads")
    def looks() -> Any:
        first, called, later = seen(), look(), look.submit().result()
        return first, called, later, seen()

    (session, holds), called, submitted, again = looks()

    assert session is not None
    assert not holds
    assert called == again == (session, False)
    assert submitted == (None, True)


def test_so_has_an_async_flow() -> None:
    @flow(task_runner="threads")
    async def looks() -> Any:
        return seen()

    session, holds = asyncio.run(looks())

    assert session is not None
    assert not holds


def test_a_task_that_waits_lets_another_have_its_slot() -> None:
    @flow(task_runner=ThreadPoolTaskRunner(max_workers=1))
    def waits() -> Any:
        return look_while_waiting.submit().result()

    assert waits() == (None, True)
