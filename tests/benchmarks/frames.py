"""How much memory an array or a frame takes on its way to storage and back, beside its size.

Each row is taken in a fresh process: a task makes the value and stages it, then it is read. The
figure is the highest resident memory over what was there before the value itself was. S3 is the
tests' own, in a process of its own on this machine; a constant of some 100 MB is what its client
has under way.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from unittest import mock

from tests.benchmarks.grounds import Ground
from tests.benchmarks.rows import Row, near
from tests.round_trips import KINDS, round_trip
from tests.stores.places import CREDENTIALS, new_place, own_server

GROUNDS = ("threads",)

MEGABYTES, QUICK_MEGABYTES = 1024, 128
AIM = near(1.3)
AIMED = ("array", "table")
"""What lives in the bytes that were read; pandas and polars make columns of their own of them."""


def measure(ground: Ground, quick: bool) -> Iterator[Row]:
    """Yield a row for each kind of value, storage and direction."""
    megabytes = QUICK_MEGABYTES if quick else MEGABYTES
    with ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, CREDENTIALS))
        place = new_place(stack.enter_context(own_server()))
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        for where, url, options in (
            ("folder", folder, {}),
            ("own S3", place.url("frames"), place.options),
        ):
            for kind in KINDS:
                found = round_trip(kind, megabytes, url, options)
                for way in ("written", "read"):
                    yield Row(
                        what=f"{kind} {way}, {where}",
                        where=ground.name,
                        n=1,
                        ours=found[f"{way}_bytes"] / 2**20,
                        beside=megabytes,
                        beside_what="its size",
                        unit="MiB",
                        aim=AIM if kind in AIMED else None,
                        note=f"{megabytes / found[f'{way}_s']:,.0f} MiB/s",
                    )
