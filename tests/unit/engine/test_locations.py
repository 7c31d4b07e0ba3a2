"""The table of where values live says the same as a dictionary of elements would."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fanfold.engine.locations import Locations

indices = st.integers(0, 60)
counts = st.integers(1, 20)
refs = st.sampled_from("abcd")


class TableBesideDictionary(RuleBasedStateMachine):
    """Does everything to both."""

    def __init__(self) -> None:
        super().__init__()
        self.table = Locations()
        self.places: dict[int, tuple[str, int]] = {}

    @rule(first=indices, count=st.integers(0, 20), ref=refs, slot=st.integers(0, 5))
    def put(self, first: int, count: int, ref: str, slot: int) -> None:
        self.table.put(first, count, ref, slot)
        self.places.update({first + at: (ref, slot + at) for at in range(count)})

    @rule(start=indices, count=counts)
    def drop(self, start: int, count: int) -> None:
        self.table.drop(start, start + count)
        for index in range(start, start + count):
            self.places.pop(index, None)

    @rule(ref=refs)
    def forget(self, ref: str) -> None:
        spans = self.table.forget(ref)

        lost = [index for start, stop in spans for index in range(start, stop)]
        assert sorted(lost) == sorted(i for i, (of, _) in self.places.items() if of == ref)
        for index in lost:
            del self.places[index]

    @rule(start=indices, count=counts)
    def find(self, start: int, count: int) -> None:
        found: dict[int, tuple[str, int]] = {}
        for stretch in self.table.find(start, start + count):
            assert stretch.count > 0
            for at in range(stretch.count):
                found[stretch.first + at] = (stretch.ref, stretch.slot + at)

        inside = range(start, start + count)
        assert found == {i: place for i, place in self.places.items() if i in inside}
        assert list(found) == sorted(found)

    @invariant()
    def every_place_is_the_same(self) -> None:
        found = {
            stretch.first + at: (stretch.ref, stretch.slot + at)
            for stretch in self.table.find(0, 100)
            for at in range(stretch.count)
        }
        assert found == self.places
        assert len(self.table) <= len(self.places)


TestLocations = TableBesideDictionary.TestCase


def test_a_million_elements_in_forty_chunks_are_forty_stretches() -> None:
    table = Locations()

    for chunk in range(40):
        table.put(chunk * 25_000, 25_000, chunk, 0)

    assert len(table) == 40
    assert [s.count for s in table.find(24_999, 75_001)] == [1, 25_000, 25_000, 1]
    assert next(table.find(999_999, 1_000_000)).slot == 24_999
