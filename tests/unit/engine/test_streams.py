"""Maps over iterators: a window of them at a time, in the reader's thread, in bounded memory."""

import asyncio
import itertools
import operator
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest

from fanfold import MapFuture, flow, task
from fanfold.adapters.runners.threads import ThreadPoolTaskRunner
from fanfold.engine.mapping import stream, unfinished
from fanfold.engine.pulling import Puller
from fanfold.engine.streams import SMALLEST, StreamFuture
from fanfold.values.errors import MappingLengthMismatch
from tests.peak import peak_bytes

DEADLINE_S = 10.0


@task
def add_one(x: int) -> int:
    return x + 1


@task
def add(x: int, y: int) -> int:
    return x + y


@task
def fails_on_sevens(x: int) -> int:
    if x % 7 == 0:
        raise ValueError(x)
    return x


def over(work: Any, *iterables: Any, max_in_flight: int | None = None) -> Any:
    """Map a task over iterators, in the flow around."""
    return stream(
        lambda columns, first, of: work.map(*columns), *iterables, max_in_flight=max_in_flight
    )


def in_flow(body: Callable[[], Any], workers: int = 4) -> Any:
    return flow(body, task_runner=ThreadPoolTaskRunner(max_workers=workers))()


class Counted:
    """An iterator that remembers how far it was pulled, by which threads, and its close."""

    def __init__(self, items: Iterator[Any]) -> None:
        self.items = items
        self.pulled = 0
        self.threads: set[int] = set()
        self.closed = False

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        self.threads.add(threading.get_ident())
        item = next(self.items)
        self.pulled += 1
        return item

    def close(self) -> None:
        self.closed = True


def test_an_iterator_that_ends_at_once_is_mapped_over_like_a_list() -> None:
    def body() -> None:
        for count in (0, 1, 999):
            futures = over(add_one, iter(range(count)))
            assert type(futures) is MapFuture and len(futures) == count
            assert futures.result() == list(range(1, count + 1))

    in_flow(body)


def test_a_walk_gives_all_elements_in_order_and_lets_go_of_them() -> None:
    def body() -> None:
        futures = over(add_one, iter(range(20_000)))
        assert isinstance(futures, StreamFuture)
        assert [future.result() for future in futures] == list(range(1, 20_001))
        assert len(futures) == 20_000 and futures.done()
        assert futures.states == {"Completed": 20_000}
        with pytest.raises(IndexError, match="walked over and let go of"):
            futures[5]
        with pytest.raises(IndexError, match="doesn't exist"):
            futures[20_000]
        assert list(futures) == []

    in_flow(body)


def test_the_length_is_known_once_the_iterator_has_ended() -> None:
    def body() -> None:
        futures = over(add_one, iter(range(5_000)))
        assert futures
        with pytest.raises(TypeError, match="isn't known before its iterator has ended"):
            len(futures)
        futures.wait()
        assert len(futures) == 5_000

    in_flow(body)


def test_what_wants_all_elements_runs_the_iterator_to_its_end() -> None:
    def body() -> None:
        assert over(add_one, iter(range(5_000))).result() == list(range(1, 5_001))
        futures = over(fails_on_sevens, iter(range(7_000)))
        assert [future.result(raise_on_failure=False).args for future in futures.failed[:2]] == [
            (0,),
            (7,),
        ]
        assert len(futures.failed) == 1_000
        with pytest.raises(ValueError, match=r"1,000 of 7,000 elements of `fails_on_sevens`"):
            futures.result()
        assert (
            sum(isinstance(v, ValueError) for v in futures.result(raise_on_failure=False)) == 1000
        )
        assert futures[-1].result() == 6_999
        assert futures[3_001:3_003].result() == [3_001, 3_002]
        assert over(add_one, iter(range(5_000))).reduce(operator.add).result() == 12_502_500

    in_flow(body)


def test_an_element_is_run_to_when_it_is_asked_for() -> None:
    def body() -> None:
        futures = over(add_one, itertools.count())
        assert futures[3_000].result() == 3_001
        futures.close()

    in_flow(body)


def test_after_part_of_a_walk_the_rest_is_what_is_left() -> None:
    def body() -> None:
        futures = over(add_one, iter(range(3_000)))
        walk = iter(futures)
        first = [next(walk).result() for _ in range(1_500)]
        rest = futures.result()
        assert first + rest == list(range(1, 3_001))

    in_flow(body)


@pytest.mark.parametrize("limit", [1, 2, 3, 10, 100])
def test_no_more_than_max_in_flight_are_started_and_not_walked_over(limit: int) -> None:
    started: list[int] = []
    lock = threading.Lock()

    @task
    def noted(x: int) -> int:
        with lock:
            started.append(x)
        return x

    def body() -> None:
        counted = Counted(iter(range(500)))
        for walked, future in enumerate(over(noted, counted, max_in_flight=limit)):
            assert counted.pulled - walked <= limit
            assert future.result() == walked
            with lock:
                assert len(started) - walked <= limit

    in_flow(body)
    assert len(started) == 500


def test_futures_that_are_kept_unfinished_count_as_in_flight() -> None:
    go = threading.Event()
    running: list[int] = []

    @task
    def waits(x: int) -> int:
        running.append(x)
        if x < 4:
            assert go.wait(DEADLINE_S)
        return x

    def body() -> None:
        counted = Counted(iter(range(100)))
        threading.Timer(0.05, go.set).start()
        kept = []
        for future in over(waits, counted, max_in_flight=4):
            if not go.is_set():
                assert counted.pulled <= 4
            kept.append(future)
        assert [future.result() for future in kept] == list(range(100))

    in_flow(body)


def test_all_at_once_keeps_to_max_in_flight_too() -> None:
    most = 0
    now = 0
    lock = threading.Lock()

    @task
    def busy(x: int) -> int:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        with lock:
            now -= 1
        return x

    assert in_flow(lambda: over(busy, iter(range(300)), max_in_flight=5).result()) == list(
        range(300)
    )
    assert most <= 5


def test_the_iterator_is_advanced_in_the_readers_thread_alone() -> None:
    counted = Counted(iter(range(10_000)))

    in_flow(lambda: [future.result() for future in over(add_one, counted)])

    assert counted.threads == {threading.get_ident()}


def test_leaving_an_endless_walk_closes_its_generator_and_starts_nothing_more() -> None:
    closed = threading.Event()

    def endless() -> Generator[int, None, None]:
        try:
            yield from itertools.count()
        finally:
            closed.set()

    def body() -> None:
        futures = over(add_one, endless())
        last = next(f for walked, f in enumerate(futures) if walked == 10_000)
        assert closed.is_set()
        assert last.result() == 10_001
        assert list(futures) == []

    in_flow(body)


def test_an_iterator_that_raises_does_so_where_the_reader_comes_to_it() -> None:
    def broken(good: int) -> Iterator[int]:
        yield from range(good)
        raise OSError("the line is down")

    def body() -> None:
        with pytest.raises(OSError, match="the line is down"):
            over(add_one, broken(0))
        values: list[int] = []
        with pytest.raises(OSError, match="the line is down") as caught:
            for future in over(add_one, broken(2_000)):
                values.append(future.result())
        assert values == list(range(1, 2_001))
        assert caught.value.__notes__ == ["From what add_one maps over, after 2,000 elements."]
        with pytest.raises(OSError, match="the line is down"):
            over(add_one, broken(3)).result()

    in_flow(body)


def test_several_iterables_are_walked_in_step() -> None:
    def body() -> None:
        rows = 5_000
        assert over(add, iter(range(rows)), list(range(rows))).result() == list(
            range(0, 2 * rows, 2)
        )
        with pytest.raises(MappingLengthMismatch, match="equally long"):
            over(add, iter(range(10)), [1, 2])
        values: list[int] = []
        with pytest.raises(MappingLengthMismatch, match="equally long"):
            for future in over(add, itertools.count(), [1] * 3_000):
                values.append(future.result())
        assert values == list(range(1, 3_001))

    in_flow(body)


def test_a_stream_is_mapped_over_as_a_stream() -> None:
    def body() -> None:
        one = over(add_one, itertools.count())
        assert unfinished(one) and unfinished(iter([])) and not unfinished([])
        two = over(add_one, one)
        taken = [future.result() for future in itertools.islice(two, 5_000)]
        assert taken == list(range(2, 5_002))
        two.close()
        one.close()
        finite = over(add_one, over(add_one, iter(range(5_000))))
        assert finite.result() == list(range(2, 5_002))

    in_flow(body)


def test_a_stream_as_an_argument_is_the_list_of_its_values() -> None:
    total = task(sum)

    assert in_flow(lambda: total.submit(over(add_one, iter(range(3_000))))) == 4_501_500


def test_elements_come_in_the_order_in_which_they_end() -> None:
    go = threading.Event()

    @task
    def first_waits(x: int) -> int:
        if x == 0:
            assert go.wait(DEADLINE_S)
        return x

    def body() -> list[int]:
        order: list[int] = []
        for future in over(first_waits, iter(range(5_000)), max_in_flight=40).as_completed():
            order.append(future.result())
            if len(order) == 20:
                go.set()
        return order

    order = in_flow(body)
    assert sorted(order) == list(range(5_000)) and order[0] != 0


def test_at_the_end_of_a_flow_what_nobody_walked_runs_and_what_was_left_is_closed() -> None:
    ran: list[int] = []
    left = Counted(itertools.count())

    @task
    def noted(x: int) -> None:
        ran.append(x)

    def body() -> None:
        over(noted, iter(range(3_000)))
        walk = iter(over(add_one, left))
        next(walk)
        over(noted, over(add_one, iter(range(10_000, 12_000))))
        kept.append(walk)

    kept: list[Any] = []
    in_flow(body)

    assert sorted(ran) == [*range(3_000), *range(10_001, 12_001)]
    assert left.closed and left.pulled <= 1_000 + SMALLEST


def test_a_stream_is_awaited_in_the_loops_thread() -> None:
    counted = Counted(iter(range(5_000)))

    @flow
    async def around() -> list[int]:
        return await over(add_one, counted)

    assert asyncio.run(around()) == list(range(1, 5_001))
    assert counted.threads == {threading.get_ident()}


def test_an_async_flow_ends_with_its_streams_run_in_the_loops_thread() -> None:
    counted = Counted(iter(range(5_000)))
    ran: list[int] = []

    @flow
    async def around() -> None:
        over(task(ran.append), counted)

    asyncio.run(around())
    assert sorted(ran) == list(range(5_000))
    assert counted.threads == {threading.get_ident()}


def test_a_callback_is_called_when_the_stream_is_over() -> None:
    called: list[Any] = []
    came = threading.Event()

    def body() -> None:
        futures = over(add_one, iter(range(3_000)))
        futures.add_done_callback(lambda future: (called.append(future), came.set()))
        for _ in futures:
            assert not called or futures.done()
        assert came.wait(DEADLINE_S)
        assert called == [futures]

    in_flow(body)


def test_a_timeout_ends_the_wait_for_an_endless_stream() -> None:
    def body() -> None:
        futures = over(add_one, itertools.count())
        with pytest.raises(TimeoutError):
            futures.result(timeout=0.05)
        futures.close()

    in_flow(body)


def test_a_long_stream_takes_no_more_memory_than_its_window() -> None:
    @task
    def big(x: int) -> bytes:
        return bytes(1_000)

    def body() -> None:
        for future in over(big, iter(range(200_000)), max_in_flight=2_000):
            future.result()

    # 200 MB of values went by; 2,000 at a time are 2 MB, and some runs are just being let go of.
    assert peak_bytes(lambda: in_flow(body)) < 20e6


def test_a_pull_is_short_however_slow_the_iterator() -> None:
    gone = threading.Event()

    def slow() -> Iterator[int]:
        for number in itertools.count():
            gone.wait(0.03)
            yield number

    puller = Puller([slow()])
    puller.fill(1_000)

    assert 1 <= len(puller) <= 4
