"""How the words of running chunks get to the driver: through the cluster's own key-value table.

Most chunks never need it: what a chunk has said when it ends travels with its report. Only what a
chunk said a while ago is put into the table of Ray's head node by the worker and taken out by the
driver, which looks only while chunks are out that are old enough to have put something. That is
0.4 ms a look and 0.4 ms a put. An actor in its place would be heard 0.2 s sooner and cost every
session that speaks a process: half a second and 70 MB.

Keys are `session/ticket/first`: the driver's number for the submit, and how many messages of that
chunk went before. The messages of a chunk are put by one thread, one batch after another, so a
listing that holds a batch holds all earlier ones that were not taken. Beside them lie, for each
chunk, the place where it runs (`session/ticket/place`), put by the worker, and what it is told to
do (`session/ticket/order`), put by the driver and read when a signal comes.
"""

import pickle
from collections.abc import Iterator
from typing import NamedTuple

from fanfold_ray import table

INTERVAL_S = 0.2
"""Between two puts of a chunk, and between two looks of the driver: words are home in 0.4 s."""

INTERRUPT = b"interrupt"
"""The order to end the running element, by an exception in its thread."""
RECALL = b"recall"
"""No order at all: the driver wanted the chunk back only if it was still waiting for a slot."""

_NAMESPACE = b"fanfold"
_PLACE = b"place"
_ORDER = b"order"


class Batch(NamedTuple):
    """Messages of one chunk, in order."""

    ticket: int
    first: int
    """How many messages the chunk said before these."""
    messages: list[bytes]


class Place(NamedTuple):
    """Where a chunk runs."""

    ticket: int
    node: str
    """Ray's id of the node, in hex."""
    worker: str
    """The process, as reports name it."""


def put(session: str, batch: Batch) -> bytes:
    """Lay a batch down for the driver and return its key; blocks for a round trip to the head node.

    Raises:
        RayError: The head node doesn't answer.
    """
    key = _key(session, batch.ticket, b"%d" % batch.first)
    table.put(key, pickle.dumps(batch.messages), _NAMESPACE)
    return key


def taken(key: bytes) -> bool:
    """Return whether the driver has taken a batch; blocks.

    Raises:
        RayError: The head node doesn't answer.
    """
    return not table.exists(key, _NAMESPACE)


def tell_place(session: str, place: Place) -> None:
    """Tell the driver where a chunk runs; blocks.

    Raises:
        RayError: The head node doesn't answer.
    """
    key = _key(session, place.ticket, _PLACE)
    table.put(key, pickle.dumps(tuple(place)), _NAMESPACE)


def give_order(session: str, ticket: int, order: bytes) -> None:
    """Leave an order for a chunk, in the place of the one before; blocks.

    Raises:
        RayError: The head node doesn't answer.
    """
    table.put(_key(session, ticket, _ORDER), order, _NAMESPACE)


def order(session: str, ticket: int) -> bytes:
    """Return the order that was left for a chunk, empty if there is none; blocks.

    Raises:
        RayError: The head node doesn't answer.
    """
    found = table.get(_key(session, ticket, _ORDER), _NAMESPACE)
    return found or b""


def take_back(session: str, ticket: int) -> None:
    """Remove the order for a chunk that needs none any more; blocks.

    Raises:
        RayError: The head node doesn't answer.
    """
    table.drop(_key(session, ticket, _ORDER), _NAMESPACE)


def take(session: str) -> Iterator[Batch | Place]:
    """Take all that chunks of a session have put, the order of each chunk kept; blocks.

    A batch is dropped from the table after the caller is done with it, so one may come twice if
    the head node fails in between.

    Raises:
        RayError: The head node doesn't answer.
    """
    keys = table.keys(f"{session}/".encode(), _NAMESPACE)
    for ticket, first, key in sorted(_parted(key) for key in keys if not key.endswith(_ORDER)):
        content = table.get(key, _NAMESPACE)
        if content is not None:
            found = pickle.loads(content)
            yield Place(*found) if first < 0 else Batch(ticket, first, found)
            table.drop(key, _NAMESPACE)


def drop(session: str) -> None:
    """Forget whatever a session left behind; blocks.

    Raises:
        RayError: The head node doesn't answer.
    """
    prefix = f"{session}/".encode()
    table.drop(prefix, _NAMESPACE, below=True)


def _key(session: str, ticket: int, what: bytes) -> bytes:
    return b"%s/%d/%s" % (session.encode(), ticket, what)


def _parted(key: bytes) -> tuple[int, int, bytes]:
    _, ticket, what = key.split(b"/")
    return int(ticket), -1 if what == _PLACE else int(what), key
