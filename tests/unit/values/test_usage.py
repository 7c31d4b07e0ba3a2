"""What chunks needed, added up: means over elements, and the worst of memory."""

from fanfold.values.messages import Report
from fanfold.values.states import StateName
from fanfold.values.usage import Costs, Usage

DONE, AGAIN = int(StateName.COMPLETED), int(StateName.AWAITING_RETRY)


def chunk(
    done: int, *, again: int = 0, before: int = 0, peak: int = 0, cpu_s: float = 0.0
) -> Report:
    states = tuple((code, count) for code, count in ((DONE, done), (AGAIN, again)) if count)
    return Report(
        chunk="c",
        reached=done + again,
        states=states,
        seconds=2.0,
        cpu_s=cpu_s,
        before_bytes=before,
        peak_bytes=peak,
    )


def test_of_nothing_nothing_is_known() -> None:
    assert Costs().usage() == Usage()


def test_times_are_means_and_memory_is_the_worst() -> None:
    costs = Costs()

    costs.add_chunk(chunk(3, before=100, peak=150, cpu_s=1.0))
    costs.add_chunk(chunk(5, before=190, peak=200, cpu_s=3.0))

    assert costs.usage() == Usage(elements=8, wall_s=0.5, cpu_s=0.5, peak_bytes=200, rise_bytes=50)


def test_an_element_counts_once_with_all_its_attempts() -> None:
    costs = Costs()

    costs.add_chunk(chunk(3, again=1, cpu_s=1.0))
    costs.add_chunk(chunk(1, cpu_s=1.0))

    usage = costs.usage()
    assert (usage.elements, usage.wall_s, usage.cpu_s) == (4, 1.0, 0.5)


def test_memory_that_shrinks_is_no_rise() -> None:
    costs = Costs()

    costs.add_chunk(chunk(1, before=100, peak=90))

    assert costs.usage().rise_bytes == 0


def test_costs_of_others_are_added() -> None:
    costs = Costs(elements=1, wall_s=1.0, cpu_s=0.5, peak_bytes=10, rise_bytes=5)

    costs.add(Costs(elements=3, wall_s=3.0, cpu_s=0.5, peak_bytes=7, rise_bytes=6))

    assert costs == Costs(elements=4, wall_s=4.0, cpu_s=1.0, peak_bytes=10, rise_bytes=6)
