"""What keeping results costs: requests to S3 and time, beside raw s3fs and joblib.Memory.

The rows on S3 name their server: it is the tests' own, in a process of its own on this machine, and
counts the requests itself. What "beside" says of requests is what may be spent; of time, what the
same map takes without storage, and s3fs for writing the same bytes in as many objects.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from unittest import mock

import joblib
import s3fs

from fanfold import INPUTS, flow, task
from fanfold.adapters.results.fsspec_store import FsspecStore
from fanfold.engine.results.shelf import shelf_of
from tests.benchmarks.clock import Contestant, race
from tests.benchmarks.elements import plus_one
from tests.benchmarks.grounds import SLOTS, Ground
from tests.benchmarks.rows import Aim, Row, near, under
from tests.stores.places import CREDENTIALS, S3Place, new_place, own_server

GROUNDS = ("threads", "dask", "ray")

ELEMENTS, QUICK_ELEMENTS = 100_000, 5_000
LOCAL_ELEMENTS, LOCAL_CALLS = 20_000, 300
TURNS, QUICK_TURNS = 5, 2
PER_CHUNK, CONSTANT, WARM_CONSTANT = 2, 20, 50
"""Requests that a cold map may make for each chunk and otherwise, and a warm one beside indexes."""
SERVER = "own S3"

SPENT = Aim("<= beside", lambda ours, beside: ours <= beside)


@dataclass(frozen=True, slots=True)
class _Map:
    """One run of the map."""

    seconds: float
    requests: int
    chunks: int
    states: dict[str, int]


def measure(ground: Ground, quick: bool) -> Iterator[Row]:
    """Yield rows for maps and calls on S3; on threads, for those on the local disk too."""
    with ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, CREDENTIALS))
        place = new_place(stack.enter_context(own_server()))
        yield from _maps(ground, place, QUICK_ELEMENTS if quick else ELEMENTS)
        if ground.name == "threads":
            yield from _calls(ground, place)
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            yield from _local(ground, folder, QUICK_TURNS if quick else TURNS)


def _shipped(place: S3Place, prefix: str) -> FsspecStore:
    """Return a store for workers too, which started before there were credentials around them."""
    return FsspecStore(place.url(prefix), place.options, ship_credentials=True)


def _kept(store: FsspecStore | str, name: str) -> Any:
    return task(plus_one).with_options(name=name, cache_policy=INPUTS, result_storage=store)


def _mapped(ground: Ground, work: Any, items: Sequence[int], place: S3Place) -> _Map:
    """Run the map in a flow, as a process that knows nothing of what is kept."""

    @flow(task_runner=ground.runner)
    def around() -> tuple[int, dict[str, int]]:
        found = work.map(items)
        values = found.result()
        if values != [x + 1 for x in items]:
            raise ValueError("The map returned something wrong.")
        return found.run.chunks_made, dict(found.states)

    shelf_of.cache_clear()
    place.control.forget()
    began = time.perf_counter()
    chunks, states = around()
    return _Map(time.perf_counter() - began, place.control.requests(), chunks, states)


def _maps(ground: Ground, place: S3Place, n: int) -> Iterator[Row]:
    items = list(range(n))
    work = _kept(_shipped(place, "results"), "kept-on-s3")
    plain = task(plus_one)
    _mapped(ground, _kept(_shipped(place, "warm-up"), "kept-on-s3"), items[:100], place)
    _mapped(ground, plain, items, place)
    unstored = _mapped(ground, plain, items, place)
    cold = _mapped(ground, work, items, place)

    def row(what: str, ours: float, beside: float, beside_what: str, **more: Any) -> Row:
        note = f"{SERVER}{more.pop('told', '')}"
        return Row(
            what=what,
            where=ground.name,
            n=n,
            ours=ours,
            beside=beside,
            beside_what=beside_what,
            note=note,
            **more,
        )

    may = PER_CHUNK * cold.chunks + int(cold.seconds) + 1 + CONSTANT
    allowed, told = "2 per chunk + 1/s + 20", f", {cold.chunks} chunks"
    yield row("cold map", cold.requests, may, allowed, unit="req", aim=SPENT, told=told)
    puts = _raw_puts(place, cold.chunks)
    together = unstored.seconds + puts
    told = f"; unstored {unstored.seconds:.2f} s, puts {puts:.2f} s"
    aim = near(1.3)
    yield row("cold map", cold.seconds, together, "unstored + raw puts", aim=aim, told=told)

    warm = _mapped(ground, work, items, place)
    if warm.states != {"Cached": n}:
        raise ValueError(f"The warm map ran elements: {warm.states}")
    indexes = sum("/index/" in name for name in place.store().names("tasks/"))
    may = indexes + SLOTS + WARM_CONSTANT
    yield row("warm map", warm.requests, may, "indexes + workers + 50", unit="req", aim=SPENT)
    yield row("warm map", warm.seconds, cold.seconds, "cold map", aim=under(5.0, "s"))

    changed = [*items[:1_000]]
    changed[500] = n + 1
    one = _mapped(ground, work, changed, place)
    ran = one.states.get("Completed", 0)
    yield row("one of 1,000 changed", ran, 1, "what changed", unit="run", aim=SPENT)


def _raw_puts(place: S3Place, chunks: int) -> float:
    """Return how long s3fs takes for the bytes of the segments, in as many objects, in turn."""
    store = place.store()
    listed = [one for one in store.listing("tasks/") if "/segments/" in one.name]
    size = sum(one.size_bytes for one in listed) // max(1, chunks)
    system = s3fs.S3FileSystem(**place.options, skip_instance_cache=True)
    began = time.perf_counter()
    for number in range(chunks):
        system.pipe_file(f"{place.bucket}/raw/{number}", os.urandom(size))
    return time.perf_counter() - began


def _calls(ground: Ground, place: S3Place) -> Iterator[Row]:
    """Yield what hits of single calls cost, in requests of a process that knows nothing yet."""

    def requests(work: Any, x: int) -> int:
        shelf_of.cache_clear()
        place.control.forget()
        state = work(x, return_state=True)
        if state.name != "Cached":
            raise ValueError(f"The call wasn't a hit: {state}")
        return place.control.requests()

    called = _kept(place.store(), "called")
    called(1)
    mapped = _kept(place.store(), "mapped")
    flow(task_runner=ground.runner)(lambda: mapped.map(range(1_000)).result())()
    indexes = sum("/mapped-" in name for name in place.store().names("tasks/") if "/index/" in name)
    rows = [
        ("hit of a call that a call made", requests(called, 1), 2, "one or two"),
        ("hit of a call that a map made", requests(mapped, 500), indexes + 2, "indexes + 2"),
    ]
    for what, ours, beside, beside_what in rows:
        yield Row(
            what=what,
            where=ground.name,
            n=1,
            ours=ours,
            beside=beside,
            beside_what=beside_what,
            unit="req",
            aim=SPENT,
            note=SERVER,
        )


def _local(ground: Ground, folder: str, turns: int) -> Iterator[Row]:
    """Yield what a warm element and a warm call cost on the local disk, beside joblib.Memory."""
    work = _kept(folder, "kept-here")
    memory = joblib.Memory(f"{folder}/joblib", verbose=0).cache(plus_one)
    mapped = flow(task_runner=ground.runner)(lambda: work.map(range(LOCAL_ELEMENTS)).result())
    calls = flow(task_runner=ground.runner)(lambda: [work(x) for x in range(LOCAL_CALLS)])

    def by_joblib(n: int) -> Callable[[], list[int]]:
        return lambda: [memory(x) for x in range(n)]

    # A thousand are enough to say what one of joblib's costs.
    pairs = [
        ("warm element, local disk", LOCAL_ELEMENTS, mapped, 1_000, under(20.0, "µs")),
        ("warm call, local disk", LOCAL_CALLS, calls, LOCAL_CALLS, under(300.0, "µs")),
    ]
    for what, n, ours, others, aim in pairs:
        timed = _each(what, ours, n, turns), _each(what, by_joblib(others), others, turns)
        yield Row(
            what=what,
            where=ground.name,
            n=n,
            ours=timed[0],
            beside=timed[1],
            beside_what="joblib.Memory",
            unit="µs",
            aim=aim,
        )


def _each(name: str, run: Callable[[], list[int]], n: int, turns: int) -> float:
    expected = [x + 1 for x in range(n)]
    timed = race([Contestant(name=name, run=run)], turns, expected)
    return timed[name].seconds / n * 1e6
