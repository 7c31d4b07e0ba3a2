"""A program that writes into a history as fast as it can, one batch of a chronicle after the other.

Run as `python -m tests.crashes.dictating URL WRITER SECONDS`; prints the number of each batch once
it is recorded.
"""

import sys
import time
from itertools import count

from fanfold.engine import registry
from fanfold.values.facts import Receipt
from tests.crashes.chronicle import BATCHES_PER_RUN, batch


def main(url: str, writer: str, seconds: float) -> None:
    """Write for so long, and to the end of a run."""
    history = registry.history(url)
    owner = history.owner()
    until = time.monotonic() + seconds
    for number in count(1):
        receipt = history.record(batch(writer, number, owner))
        if receipt != Receipt():
            raise ValueError(f"Batch {number} wasn't taken as it is: {receipt}")
        print(number, flush=True)
        if number % BATCHES_PER_RUN == 0 and time.monotonic() >= until:
            break
    history.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
