"""A plug-in's context manager changes what the calls inside it ask for, and no others."""

import threading
from contextvars import copy_context
from dataclasses import replace

from fanfold.ports.wants import wanted, wanting
from fanfold.values.resources import PLAIN, Resources, Slots


def doubled(want: Resources) -> Resources:
    return replace(want, cpu=want.cpu * 2)


def named(want: Resources) -> Resources:
    return replace(want, native="spread")


def test_changes_are_made_from_the_outside_in_and_end_with_their_blocks() -> None:
    with wanting(doubled), wanting(lambda want: replace(want, cpu=want.cpu + 1)):
        inner = wanted(PLAIN)

    assert inner == Resources(cpu=3)
    assert wanted(PLAIN) is PLAIN


def test_a_change_ends_with_an_error_too() -> None:
    try:
        with wanting(doubled):
            raise ValueError("told")
    except ValueError:
        pass

    assert wanted(PLAIN) is PLAIN


def test_another_thread_has_its_own_unless_it_takes_the_context() -> None:
    seen: list[Resources] = []

    def look() -> None:
        seen.append(wanted(PLAIN))

    with wanting(doubled):
        context = copy_context()
        for target in (look, lambda: context.run(look)):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()

    assert seen == [PLAIN, Resources(cpu=2)]


def test_native_options_are_told_and_refused_by_who_has_no_word_for_them() -> None:
    want = named(PLAIN)

    assert not want.plain
    assert str(want) == "spread"
    assert want.beyond(frozenset({"cpu"})) == ["spread"]
    assert want.beyond(frozenset({"native"})) == []


def test_what_holds_no_cpu_fits_into_every_slot() -> None:
    slots = Slots(now=3, most=3)

    assert slots.holding(Resources(cpu=0.0)).now == 3
