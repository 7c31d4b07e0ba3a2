"""What a type checker must understand of code that uses Fanfold; never run.

`assert_type` holds what is inferred. A line that ends in `# wrong` must be reported, and no other.

Limits, which are the price of futures being taken wherever their value is:

- Where a future, a state or a mark is among the arguments of `submit`, the others aren't checked,
  for a future may stand deep inside of any. The call itself checks their names and number.
- What consists of plain values alone and doesn't fit is reported as deprecated, see
  `fanfold.engine.submittable`. Pyright does so in strict mode, mypy where its code `deprecated` is
  enabled. Objects of other classes that don't fit are taken for something that holds a future.
- Arguments of `map` aren't checked: each may be an iterable of what is taken, or that itself.
- A direct call takes the function's own arguments alone: `add(future.result(), 2)`.
- An argument of type Any makes mypy take the results of async and of generator tasks for Any.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, assert_type

from fanfold import (
    Flow,
    MapFuture,
    State,
    Task,
    TaskFuture,
    allow_failure,
    as_completed,
    flow,
    quote,
    tags,
    task,
    unmapped,
    wait,
)

T = TypeVar("T")


@task
def add(x: int, y: int) -> int:
    return x + y


@task()
def scaled(x: int, *, by: float = 2.0) -> float:
    return x * by


@task(name="total", retries=3, tags=["sums"], retry_delay_seconds=[1, 2, 3])
def total(numbers: Sequence[int], least: int = 0) -> int:
    return max(sum(numbers), least)


@task(retries=1)
async def load(url: str) -> bytes:
    return url.encode()


@task
def count_to(n: int) -> Iterator[int]:
    yield from range(n)


@task
def numbers_to(n: int) -> Generator[int, None, None]:
    yield from range(n)


@task
async def read_lines(url: str) -> AsyncIterator[str]:
    yield url


@task
async def read_words(url: str) -> AsyncGenerator[str, None]:
    yield url


@task
def same(x: T) -> T:
    return x


@task
def report() -> None:
    print("done")


class Model:
    @task
    def predict(self, x: int) -> str:
        return str(x)

    @flow
    def train(self, epochs: int) -> float:
        return float(epochs)


@dataclass
class Batch:
    rows: list[int]


@task
def size(batch: Batch) -> int:
    return len(batch.rows)


@flow
def doubled(n: int) -> list[int]:
    return add.map(range(n), range(n)).result()


@flow(name="later", task_runner="threads", retries=2)
async def fetched(url: str) -> bytes:
    return await load(url)


@flow
def pages(n: int) -> Generator[str, None, None]:
    yield str(n)


@flow
async def live_pages(n: int) -> AsyncGenerator[str, None]:
    yield str(n)


def decorators_keep_what_a_function_takes() -> None:
    assert_type(add(1, 2), int)
    assert_type(add(x=1, y=2), int)
    assert_type(scaled(1, by=3), float)
    assert_type(total([1, 2], least=3), int)
    assert_type(same("x"), str)
    assert_type(doubled(3), list[int])
    assert_type(Model().predict(3), str)
    assert_type(Model().train(epochs=3), float)
    assert_type(task(len)([1]), int)
    assert_type(flow(len)([1]), int)
    add("1", 2)  # wrong
    add(1)  # wrong
    add(1, 2, 3)  # wrong
    add(1, z=2)  # wrong
    scaled(1, 3)  # wrong
    doubled("3")  # wrong
    Model().predict("3")  # wrong
    Model().train("3")  # wrong
    task(add, retries="3")  # wrong
    task(add, retrys=3)  # wrong
    flow(add, timeout_seconds="3")  # wrong


def generators_yield_what_their_function_yields() -> None:
    for number in count_to(3):
        assert_type(number, int)
    for page in pages(3):
        assert_type(page, str)


async def async_calls_are_awaited() -> None:
    assert_type(await load("u"), bytes)
    assert_type(await fetched("u"), bytes)
    assert_type(await load("u", return_state=True), State)
    async for line in read_words("u"):
        assert_type(line, str)
    async for page in live_pages(3):
        assert_type(page, str)
    assert_type(await add.submit(1, 2), int)
    assert_type(await load.map(["u"]), list[bytes])
    await load(3)  # wrong
    await fetched(3)  # wrong


def submits_give_futures_of_what_is_returned() -> None:
    assert_type(add.submit(1, 2), TaskFuture[int])
    assert_type(add.submit(x=1, y=2).result(), int)
    assert_type(add.submit(1, 2).result(timeout=3), int)
    assert_type(load.submit("u"), TaskFuture[bytes])
    assert_type(load.submit("u").result(), bytes)
    assert_type(count_to.submit(3).result(), list[int])
    assert_type(numbers_to.submit(3).result(), list[int])
    assert_type(read_lines.submit("u").result(), list[str])
    assert_type(read_words.submit("u").result(), list[str])
    assert_type(same.submit(3).result(), int)
    assert_type(report.submit(), TaskFuture[None])
    assert_type(Model().predict.submit(3).result(), str)
    assert_type(doubled.submit(3).result(), list[int])
    assert_type(fetched.submit("u").result(), bytes)
    assert_type(pages.submit(3).result(), list[str])
    assert_type(live_pages.submit(3).result(), list[str])


def submits_check_plain_arguments() -> None:
    add.submit("1", 2)  # wrong
    add.submit(1)  # wrong
    add.submit(1, 2, 3)  # wrong
    add.submit(1, z=2)  # wrong
    add.submit(x=1, y="2")  # wrong
    scaled.submit(1, 3)  # wrong
    load.submit(3)  # wrong
    count_to.submit("3")  # wrong
    total.submit(["1"])  # wrong
    size.submit([1, 2])  # wrong
    Model().predict.submit("3")  # wrong
    doubled.submit("3")  # wrong
    fetched.submit(3)  # wrong


def futures_stand_for_their_values(anything: Any) -> None:
    one, several = add.submit(1, 2), add.map([1, 2], 3)
    assert_type(add.submit(one, 2), TaskFuture[int])
    assert_type(add.submit(1, one), TaskFuture[int])
    assert_type(add.submit(x=one, y=2), TaskFuture[int])
    assert_type(add.submit(1, y=one), TaskFuture[int])
    assert_type(total.submit([one, one]), TaskFuture[int])
    assert_type(total.submit([one, 2], least=1), TaskFuture[int])
    assert_type(total.submit(several), TaskFuture[int])
    assert_type(total.submit(list(several)), TaskFuture[int])
    assert_type(size.submit(one), TaskFuture[int])
    assert_type(load.submit(one), TaskFuture[bytes])
    assert_type(count_to.submit(one), TaskFuture[list[int]])
    assert_type(Model().predict.submit(one), TaskFuture[str])
    assert_type(doubled.submit(one), TaskFuture[list[int]])
    assert_type(add.submit(allow_failure(one), 2), TaskFuture[int])
    assert_type(add.submit(quote(1), 2), TaskFuture[int])
    assert_type(add.submit(one.state, 2), TaskFuture[int])
    assert_type(add.submit(anything, 2), TaskFuture[int])
    assert_type(add.submit(1, 2, wait_for=[one]), TaskFuture[int])
    assert_type(add.submit(1, 2, wait_for=[anything]), TaskFuture[int])
    number: int = one  # wrong
    one + number  # wrong
    one.reslut()  # wrong


def maps_give_one_future_of_many(anything: Any) -> None:
    several = add.map([1, 2], [3, 4])
    assert_type(several, MapFuture[int])
    assert_type(several.result(), list[int])
    assert_type(several[0], TaskFuture[int])
    assert_type(several[0].result(), int)
    assert_type([one.result() for one in several], list[int])
    assert_type([one.result() for one in as_completed(several)], list[int])
    assert_type(add.map([1, 2], unmapped(3), chunk_size=10).result(), list[int])
    assert_type(add.map(several, allow_failure(several)).result(), list[int])
    assert_type(add.map(anything, 1).result(), list[int])
    assert_type(load.map(["u"]).result(), list[bytes])
    assert_type(count_to.map([3]).result(), list[list[int]])
    assert_type(Model().predict.map([3]).result(), list[str])
    assert_type(doubled.map([3]).result(), list[list[int]])
    assert_type(fetched.map(["u"]).result(), list[bytes])
    assert_type(several.reduce(max), TaskFuture[int])
    assert_type(several.reduce(add).result(), int)
    assert_type(unmapped(3).value, int)
    wait(several)
    several.result().strip()  # wrong


def states_are_given_where_they_are_asked_for() -> None:
    assert_type(add(1, 2, return_state=True), State)
    assert_type(add.submit(1, 2, return_state=True), State)
    assert_type(add.map([1, 2], 3, return_state=True), list[State])
    assert_type(doubled(3, return_state=True), State)
    assert_type(doubled.submit(3, return_state=True), State)
    assert_type(load.submit("u", return_state=True), State)


def other_options_keep_the_types() -> None:
    with tags("nightly"):
        patient = add.with_options(retries=5, name="patient")
    assert_type(patient(1, 2), int)
    assert_type(patient.submit(1, 2), TaskFuture[int])
    assert_type(doubled.with_options(task_runner="inline")(3), list[int])
    assert_type(load.with_options(retries=5).submit("u"), TaskFuture[bytes])
    patient("1", 2)  # wrong
    patient.submit("1", 2)  # wrong
    add.with_options(retrys=5)  # wrong
    add.with_options(retries="5")  # wrong


def tasks_and_flows_are_passed_on() -> None:
    def runs(work: Task[[int, int], int], whole: Flow[[int], list[int]]) -> list[int]:
        return [work(1, 2), *whole(3)]

    assert_type(runs(add, doubled), list[int])
    runs(load, doubled)  # wrong
