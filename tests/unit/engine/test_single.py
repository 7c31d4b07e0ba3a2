"""Objects of which a process has one."""

import os
import threading
from collections.abc import Callable

import pytest

from fanfold.engine.dispatch import dispatcher
from fanfold.engine.pulse import pulse
from fanfold.engine.results.clerk import clerk
from fanfold.engine.single import OnePerProcess


def test_first_uses_at_the_same_time_get_the_same_object() -> None:
    got: list[object] = []
    others: list[threading.Thread] = []

    @OnePerProcess
    def one() -> object:
        if not others:  # another thread asks for it while it is made, and has the time to make one
            others.append(threading.Thread(target=lambda: got.append(one())))
            others[0].start()
            others[0].join(0.05)
        return object()

    assert not one.made
    first = one()
    others[0].join()

    assert got == [first]
    assert one.made
    assert one() is first


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
@pytest.mark.parametrize("one", [clerk, dispatcher, pulse])
def test_a_forked_child_has_an_object_of_its_own(one: Callable[[], object]) -> None:
    mine = one()

    child = os.fork()
    if child == 0:
        os._exit(0 if one() is not mine else 1)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert one() is mine
