"""No fork in the middle of a history's work."""

import threading

from fanfold.adapters.history.forking import Gate

DEADLINE_S = 20.0


def test_a_fork_waits_for_work_and_new_work_waits_for_the_fork() -> None:
    gate = Gate()
    inside, finish = threading.Event(), threading.Event()
    told: list[str] = []

    def first() -> None:
        with gate.working(), gate.working():
            inside.set()
            assert finish.wait(DEADLINE_S)
            told.append("first")

    def fork() -> None:
        gate.close()
        told.append("fork")

    def second() -> None:
        with gate.working():
            told.append("second")

    threads = [threading.Thread(target=each) for each in (first, fork, second)]
    threads[0].start()
    assert inside.wait(DEADLINE_S)
    threads[1].start()
    finish.set()
    threads[1].join()
    threads[2].start()
    before = list(told)
    gate.open()
    for thread in threads:
        thread.join()

    assert before[:2] == ["first", "fork"]
    assert told == ["first", "fork", "second"]
