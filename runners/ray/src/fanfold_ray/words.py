"""How the words of running chunks get to the driver: through the cluster's own key-value table.

Most chunks never need it: what a chunk has said when it ends travels with its report. Only what a
chunk said a while ago is put into the table of Ray's head node by the worker and taken out by the
driver, which looks only while chunks are out that are old enough to have put something. That is
0.4 ms a look and 0.4 ms a put. An actor in its place would be heard 0.2 s sooner and cost every
session that speaks a process: half a second and 70 MB.

Keys are `session/ticket/first`: the driver's number for the submit, and how many messages of that
chunk went before. The messages of a chunk are put by one thread, one batch after another, so a
listing that holds a batch holds all earlier ones that were not taken.
"""

import pickle
from collections.abc import Iterator
from typing import Any, NamedTuple

from ray.experimental import internal_kv

INTERVAL_S = 0.2
"""Between two puts of a chunk, and between two looks of the driver: words are home in 0.4 s."""

_NAMESPACE = b"fanfold"

# Marked as private and yet what Ray's own libraries use from outside its core.
_table: Any = internal_kv


class Batch(NamedTuple):
    """Messages of one chunk, in order."""

    ticket: int
    first: int
    """How many messages the chunk said before these."""
    messages: list[bytes]


def put(session: str, batch: Batch) -> None:
    """Lay a batch down for the driver; blocks for a round trip to the head node.

    Raises:
        RayError: The head node doesn't answer.
    """
    key = _key(session, batch.ticket, batch.first)
    _table._internal_kv_put(key, pickle.dumps(batch.messages), namespace=_NAMESPACE)


def take(session: str) -> Iterator[Batch]:
    """Take all batches of a session, the order of each chunk kept; blocks.

    A batch is dropped from the table after the caller is done with it, so one may come twice if
    the head node fails in between.

    Raises:
        RayError: The head node doesn't answer.
    """
    keys = _table._internal_kv_list(f"{session}/".encode(), namespace=_NAMESPACE)
    for ticket, first in sorted(tuple(map(int, key.split(b"/")[1:])) for key in keys):
        key = _key(session, ticket, first)
        content = _table._internal_kv_get(key, namespace=_NAMESPACE)
        if content is not None:
            yield Batch(ticket, first, pickle.loads(content))
            _table._internal_kv_del(key, namespace=_NAMESPACE)


def drop(session: str) -> None:
    """Forget whatever a session left behind; blocks.

    Raises:
        RayError: The head node doesn't answer.
    """
    prefix = f"{session}/".encode()
    _table._internal_kv_del(prefix, del_by_prefix=True, namespace=_NAMESPACE)


def _key(session: str, ticket: int, first: int) -> bytes:
    return f"{session}/{ticket}/{first}".encode()
