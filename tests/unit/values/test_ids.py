"""Names for runs."""

import re

from fanfold.values.ids import new_id


def test_ids_are_unique_and_sort_by_the_millisecond_of_their_birth() -> None:
    ids = [new_id() for _ in range(10_000)]

    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("[0-9a-f]{24}", name) for name in ids)
    births = [name[:12] for name in ids]
    assert births == sorted(births)
