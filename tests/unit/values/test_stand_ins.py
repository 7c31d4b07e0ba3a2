"""Arguments that stand for values elsewhere."""

from collections.abc import Iterator

import pytest

from fanfold.values import stand_ins
from fanfold.values.stand_ins import NotHad, had, stands_in, stood_for


class Ticket:
    """Stands for its number, if that isn't negative."""

    def __init__(self, number: int) -> None:
        self.number = number


def value_of(ticket: Ticket) -> int:
    if ticket.number < 0:
        raise ValueError("no such number")
    return ticket.number


@pytest.fixture
def known() -> Iterator[None]:
    before = dict(stand_ins._value_of)
    stands_in(Ticket, value_of)
    yield
    stand_ins._value_of.clear()
    stand_ins._value_of.update(before)


def test_nothing_stands_for_anything_unless_somebody_says_so() -> None:
    items = [Ticket(1), 2]

    assert stood_for(items) is items


def test_items_are_replaced_by_what_they_stand_for(known: None) -> None:
    found = stood_for([Ticket(1), 2, Ticket(3)])

    assert list(found) == [1, 2, 3]
    assert list(found[1:]) == [2, 3]
    assert (len(found), found[-1]) == (3, 3)


def test_what_holds_none_is_returned_as_it_is(known: None) -> None:
    items, numbers = [1, "two"], range(3)

    assert stood_for(items) is items
    assert stood_for(numbers) is numbers


def test_one_that_can_not_be_had_harms_no_other(known: None) -> None:
    found = list(stood_for([Ticket(1), Ticket(-1), Ticket(3)]))

    assert found[::2] == [1, 3]
    assert isinstance(found[1], NotHad)
    with pytest.raises(ValueError, match="no such number"):
        had(found)
    assert had([1, 3]) == [1, 3]
