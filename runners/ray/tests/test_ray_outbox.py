"""Messages in bounded memory: none is lost, and none changes places."""

import random

import pytest

from fanfold_ray.outbox import BATCH_BYTES, MEMORY_BYTES, Outbox


def test_a_few_messages_come_out_in_their_order() -> None:
    outbox = Outbox()

    numbers = [outbox.add(b"%d" % number) for number in range(5)]
    batch = outbox.batch()
    outbox.sent()

    assert numbers == [0, 1, 2, 3, 4]
    assert batch == (0, [b"0", b"1", b"2", b"3", b"4"])
    assert outbox.batch() == (5, [])
    assert outbox.size_bytes == 0


def test_what_was_not_sent_comes_again_the_same() -> None:
    outbox = Outbox()
    outbox.add(b"first")

    before = outbox.batch()
    outbox.add(b"second")

    assert outbox.batch() == before == (0, [b"first"])
    outbox.sent()
    assert outbox.batch() == (1, [b"second"])


def test_the_rest_holds_what_is_on_its_way_too() -> None:
    outbox = Outbox()
    outbox.add(b"first")
    outbox.batch()
    outbox.add(b"second")

    assert outbox.rest() == (0, [b"first", b"second"])
    # A thread that sends just now finds nothing more.
    assert outbox.batch() == (0, [])


@pytest.mark.parametrize("seed", range(3))
def test_more_than_fits_into_memory_keeps_its_order(seed: int) -> None:
    chance = random.Random(seed)
    outbox = Outbox()
    added, came = 0, list[bytes]()
    size = BATCH_BYTES // 20

    def add() -> None:
        nonlocal added
        outbox.add((b"%d" % added).ljust(size))
        added += 1

    for _ in range(4 * MEMORY_BYTES // size):
        add()
        if chance.random() < 0.02:
            first, messages = outbox.batch()
            assert first == len(came)
            for _ in range(chance.randrange(100)):
                add()
            came += messages
            outbox.sent()
    first, rest = outbox.rest()

    assert first == len(came)
    assert [int(message) for message in came + rest] == list(range(added))
