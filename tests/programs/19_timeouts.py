"""A run that takes longer than it may ends as TimedOut, which is a way to fail."""

import asyncio
import time

from fanfold import flow, task


@task(timeout_seconds=0.2)
def nap(seconds: float) -> str:
    for _ in range(int(seconds * 100)):
        time.sleep(0.01)
    return "rested"


@flow(timeout_seconds=0.3)
async def lecture(minutes: float) -> str:
    await asyncio.sleep(minutes)
    return "applause"


@flow
def siesta():
    print(nap.with_options(timeout_seconds=30)(0.02))
    state = nap(20, return_state=True)
    print(state.name, state.type.value, state.is_failed())
    assert state.is_failed() and state.name == "TimedOut"

    try:
        nap(20)
    except TimeoutError:
        print("too long")
    return "over"


if __name__ == "__main__":
    started = time.monotonic()
    assert siesta() == "over"

    print(asyncio.run(lecture.with_options(timeout_seconds=30)(0)))
    state = asyncio.run(lecture(20, return_state=True))
    print(state.name, state.type.value)
    assert state.name == "TimedOut"
    assert time.monotonic() - started < 15
