"""What the writer does next, decided without threads, clocks, disks and databases."""

from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from fanfold.engine.recording.course import (
    COMPANY_S,
    FACTS_PER_BATCH,
    LINES_IN_MEMORY,
    PATIENCE_S,
    Course,
    Deliver,
    Keep,
    Record,
    Rest,
)
from fanfold.values.facts import Batch, Fact, LinesDropped
from tests.unit.engine.recording.making import line, made


def test_facts_wait_for_company_and_share_a_batch() -> None:
    course = Course("w")

    course.add([made("a")], 0.0)
    early = course.next(0.01)
    course.add([line("a", "hello")], 0.02)
    step = course.next(COMPANY_S)

    assert early == Rest(until=COMPANY_S)
    assert isinstance(step, Record)
    assert step.batch == Batch(writer="w", number=1, facts=(made("a"), line("a", "hello")))


def test_a_marker_cuts_the_wait_and_passes_with_what_came_before_it() -> None:
    course, passed = Course("w"), list[str]()
    course.add([made("a")], 0.0)

    course.mark(lambda: passed.append("first"))
    step = course.next(0.0)
    course.add([made("b")], 0.0)
    course.mark(lambda: passed.append("second"))
    course.done()

    assert isinstance(step, Record)
    assert len(step.batch.facts) == 1
    assert passed == ["first"]


def test_a_marker_passes_at_once_where_nothing_waits() -> None:
    passed: list[str] = []

    Course("w").mark(lambda: passed.append("it"))

    assert passed == ["it"]


def test_a_marker_that_comes_after_its_facts_were_taken_passes_with_their_batch() -> None:
    course, passed = Course("w"), list[str]()
    course.add([made("a")], 0.0)
    course.next(COMPANY_S)

    course.mark(lambda: passed.append("it"))
    before = list(passed)
    course.done()

    assert (before, passed) == ([], ["it"])
    assert course.idle


def test_many_facts_do_not_wait_and_go_in_several_batches() -> None:
    course = Course("w")

    course.add([line("a", "x")] * (FACTS_PER_BATCH + 5), 0.0)
    first = course.next(0.0)
    course.done()
    second = course.next(COMPANY_S)

    assert isinstance(first, Record) and isinstance(second, Record)
    assert [len(step.batch.facts) for step in (first, second)] == [FACTS_PER_BATCH, 5]
    assert [step.batch.number for step in (first, second)] == [1, 2]


def test_a_batch_that_failed_is_kept_and_delivered_later_by_its_number() -> None:
    course = Course("w")
    course.add([made("a")], 0.0)
    step = course.next(1.0)
    assert isinstance(step, Record)

    course.failed(1.0)
    kept = course.next(1.0)
    course.was_kept()
    rest = course.next(1.0)
    assert isinstance(rest, Rest) and rest.until is not None
    again = course.next(rest.until)

    assert kept == Keep(batch=step.batch)
    assert again == Deliver()


def test_after_any_call_that_failed_it_is_tried_again_some_time() -> None:
    course = Course("w")
    course.begin(0.0)

    course.failed(1.0)
    rest = course.next(1.0)

    assert isinstance(rest, Rest) and rest.until is not None
    assert not course.reachable(1.0)
    assert course.reachable(rest.until)


def test_what_comes_while_the_journal_holds_something_goes_there_too() -> None:
    course = with_one_kept()
    course.add([made("b")], 2.0)

    step = course.next(2.0 + COMPANY_S)

    assert isinstance(step, Deliver)
    course.failed(3.0)
    assert isinstance(course.next(3.0), Keep)


def test_the_journal_is_emptied_even_while_more_comes() -> None:
    course = with_one_kept()
    steps: list[type] = []
    now = 100.0

    for _ in range(200):
        now += 2 * COMPANY_S
        course.add([made("b")], now)
        step = course.next(now)
        steps.append(type(step))
        if isinstance(step, Keep):
            course.was_kept()
        elif not isinstance(step, Rest):
            course.done(delivered=isinstance(step, Deliver))

    assert steps[-1] is Record
    assert course.kept == 0


def test_a_call_that_hangs_is_overtaken_by_the_journal() -> None:
    course = Course("w")
    course.add([made("a")], 0.0)
    step = course.next(1.0)
    assert isinstance(step, Record)

    waiting = course.next(2.0)
    kept = course.next(1.0 + PATIENCE_S)
    course.was_kept()
    rest = course.next(2.0 + PATIENCE_S)

    assert waiting == Rest(until=1.0 + PATIENCE_S)
    assert kept == Keep(batch=step.batch)
    assert rest == Rest(until=None)  # one call at a time, and that one hangs


def test_a_late_answer_counts_once() -> None:
    course, passed = Course("w"), list[str]()
    course.add([made("a")], 0.0)
    course.mark(lambda: passed.append("it"))
    course.next(0.0)
    course.next(PATIENCE_S)
    course.not_kept(PATIENCE_S)

    course.done()

    assert passed == ["it"]
    assert course.idle


def test_a_late_answer_for_a_batch_in_the_journal_leaves_it_to_be_delivered_again() -> None:
    course = Course("w")
    course.add([made("a")], 0.0)
    course.next(1.0)
    course.next(1.0 + PATIENCE_S)
    course.was_kept()

    course.done()

    assert course.next(2.0 + PATIENCE_S) == Deliver()


def test_who_is_in_a_hurry_has_all_kept_by_then() -> None:
    course = Course("w")
    course.add([made("a")], 0.0)
    course.next(1.0)

    course.hurry(1.5)

    assert isinstance(course.next(1.4), Rest)
    assert isinstance(course.next(1.5), Keep)


def test_lines_beyond_a_bound_are_dropped_and_counted_while_nothing_takes_them() -> None:
    course = stuck()

    course.add([line("a", "x")] * (LINES_IN_MEMORY + 7), 2.0)
    course.add([line("b", "x")] * 2 + [made("c")], 2.0)
    facts = facts_recorded(course, 1_000.0)

    assert sum(fact == line("a", "x") for fact in facts) == LINES_IN_MEMORY
    assert facts.count(made("c")) == 1
    dropped = [fact for fact in facts if isinstance(fact, LinesDropped)]
    assert sum(fact.count for fact in dropped if fact.flow_run_id == "a") == 7
    assert sum(fact.count for fact in dropped if fact.flow_run_id == "b") == 2


def test_without_trouble_no_line_is_dropped() -> None:
    course = Course("w")

    course.add([line("a", "x")] * (LINES_IN_MEMORY + 7), 0.0)

    assert len(facts_recorded(course, 1.0)) == LINES_IN_MEMORY + 7


@dataclass
class World:
    """A history and a disk that fail as they are told, and what they hold."""

    recorded: list[Fact] = field(default_factory=list[Fact])
    numbers: list[int] = field(default_factory=list[int])
    journal: list[Batch] = field(default_factory=list[Batch])

    def record(self, batch: Batch) -> None:
        if batch.number > (self.numbers[-1] if self.numbers else 0):
            self.numbers.append(batch.number)
            self.recorded.extend(batch.facts)


WHATEVER = st.lists(st.sampled_from(["ok", "fail", "half", "hang", "full"]), max_size=60)


@given(WHATEVER, st.integers(1, 5))
def test_whatever_fails_all_is_recorded_once_and_in_order(script: list[str], each: int) -> None:
    course, world = Course("w"), World()
    put: list[Fact] = []
    now = 0.0

    for turn, what in enumerate(script):
        new = [line("a", f"{turn}-{n}") for n in range(each)]
        put += new
        course.add(new, now)
        now += 0.3
        one_step(course, world, what, now)
    for _ in range(500):
        now += 60.0
        one_step(course, world, "ok", now)

    assert world.recorded == put
    assert course.idle
    assert course.in_memory == 0


def one_step(course: Course, world: World, what: str, now: float) -> None:
    """Do what the course says, with that outcome."""
    answer: Callable[[], None] = lambda: None  # noqa: E731
    match course.next(now):
        case Record(batch=batch):
            answer = call(course, world, batch, what, now, delivered=False)
        case Deliver():
            answer = call(course, world, world.journal[0], what, now, delivered=True)
        case Keep(batch=batch):
            if what == "full":
                course.not_kept(now)
            else:
                world.journal.append(batch)
                course.was_kept()
        case Rest():
            pass
    answer()


def call(
    course: Course, world: World, batch: Batch, what: str, now: float, *, delivered: bool
) -> Callable[[], None]:
    if what in ("fail", "full"):
        return lambda: course.failed(now)
    world.record(batch)
    if what == "half":
        return lambda: course.failed(now)
    if what == "hang":
        step = course.next(now + PATIENCE_S)
        if isinstance(step, Keep):
            world.journal.append(step.batch)
            course.was_kept()

    def done() -> None:
        course.done(delivered=delivered)
        if delivered:
            world.journal.pop(0)

    return done


def with_one_kept() -> Course:
    course = Course("w")
    course.add([made("a")], 0.0)
    course.next(1.0)
    course.failed(1.0)
    course.next(1.0)
    course.was_kept()
    return course


def stuck() -> Course:
    """Return a course that neither the history nor the disk takes anything from."""
    course = Course("w")
    course.add([made("a")], 0.0)
    course.next(1.0)
    course.failed(1.0)
    course.next(1.0)
    course.not_kept(1.0)
    return course


def facts_recorded(course: Course, now: float) -> list[Fact]:
    facts: list[Fact] = []
    while not course.idle:
        now += 1.0
        step = course.next(now)
        assert isinstance(step, Record)
        facts += step.batch.facts
        course.done()
    return facts
