"""A process that does kept work on S3, by a map or by single calls: `test_weather` runs it twice.

Gets a store's URL and options, the ledger's folder, the word for its lines, what to do and how many
elements there are, as JSON; tells the sum of the results.
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor

from fanfold import flow, task, unmapped
from fanfold.adapters.results.fsspec_store import FsspecStore
from fanfold.testing.ledger import Ledger

CALLERS = 16
"""Threads that call at the same time: most of the time a call waits for the storage."""
CHUNK = 10


@task(cache_key_fn=lambda context, arguments: str(arguments["x"]))
def square(x: int, ledger: str, life: str) -> int:
    """Return the square, and leave a line."""
    Ledger(ledger).note(life, x)
    return x * x


@flow(task_runner="threads")
def mapped(count: int, ledger: str, life: str) -> int:
    """Return the sum of the squares, made by a map in small chunks."""
    done = square.with_options(chunk_size=CHUNK).map(range(count), unmapped(ledger), unmapped(life))
    return sum(done.result())


def called(store: FsspecStore, count: int, ledger: str, life: str) -> int:
    """Return the sum of the squares, made by calls of their own: each caller has its own task.

    Calls of one task take turns at looking up what is committed, waits in bad weather included.
    """

    def call(caller: int) -> int:
        kept = square.with_options(name=f"square-{caller}", result_storage=store)
        return sum(kept(x, ledger, life) for x in range(caller, count, CALLERS))

    with ThreadPoolExecutor(CALLERS) as callers:
        return sum(callers.map(call, range(CALLERS)))


def main() -> None:
    url, options, ledger, life, kind, count = json.loads(sys.stdin.read())
    store = FsspecStore(url, options)
    if kind == "calls":
        print(called(store, count, ledger, life))
    else:
        print(mapped.with_options(result_storage=store)(count, ledger, life))


if __name__ == "__main__":
    main()
