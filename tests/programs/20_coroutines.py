"""Flows and tasks may be coroutines: awaited, gathered, or submitted as any others."""

import asyncio

from fanfold import flow, task

tables: list[str] = []


@task
async def order(dish: str, after: asyncio.Event | None = None, tell: asyncio.Event | None = None):
    if after is not None:
        await asyncio.wait_for(after.wait(), 20)
    tables.append(dish)
    if tell is not None:
        tell.set()
    return f"{dish} served"


@task
def bill(dishes: list[str]) -> int:
    return 10 * len(dishes)


@task
async def cook(minutes: int) -> int:
    await asyncio.sleep(0)
    if minutes > 60:
        raise ValueError("overdone")
    return minutes


@flow
async def dinner():
    eaten = asyncio.Event()
    # The second lets the first go on, so both have to be under way at once.
    served = await asyncio.gather(order("pudding", after=eaten), order("soup", tell=eaten))
    print(served, tables)
    assert tables == ["soup", "pudding"]

    print("bill", bill(served), bill.submit(served).result())

    state = await cook(90, return_state=True)
    print(state.name, state.is_failed())
    try:
        await cook(61)
    except ValueError as error:
        print("raised", error)
    return await asyncio.gather(course(1), course(2))


@flow
async def course(number: int) -> int:
    return number * await cook(number)


@flow
def canteen():
    futures = [cook.submit(minutes) for minutes in (3, 5)]
    print([future.result() for future in futures], cook.map([7, 8]).result())
    return "closed"


if __name__ == "__main__":
    print(asyncio.run(dinner()))
    print(canteen())
