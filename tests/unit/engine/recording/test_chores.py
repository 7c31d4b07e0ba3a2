"""When a recorder looks after its history."""

from fanfold.engine.recording.chores import ASK_S, Chores


def test_nothing_is_due_before_the_history_took_something() -> None:
    chores = Chores()

    chores.plan(0.0, renewing=True, watching=True)

    assert chores.due(0.0, closing=False) is None
    assert chores.next(closing=False) is None


def test_leases_come_first_and_removing_last() -> None:
    chores = Chores()
    chores.recorded(0.0)
    chores.plan(0.0, renewing=True, watching=True)
    order: list[str] = []

    while (chore := chores.due(0.0, closing=False)) is not None:
        order.append(chore)
        chores.done(chore, 0.0, ASK_S)

    assert order == ["renew", "cancelled", "tend", "prune"]
    assert chores.next(closing=False) == ASK_S


def test_what_nobody_wants_any_more_is_not_due() -> None:
    chores = Chores()
    chores.recorded(0.0)
    chores.plan(0.0, renewing=True, watching=True)
    chores.done("tend", 0.0, None)
    chores.done("prune", 0.0, None)

    chores.plan(0.0, renewing=False, watching=False)

    assert chores.due(0.0, closing=False) is None


def test_who_closes_removes_one_slice_at_most_and_starts_no_helper() -> None:
    chores = Chores()
    chores.recorded(0.0)
    chores.plan(0.0, renewing=True, watching=True)
    order: list[str] = []

    while (chore := chores.due(0.0, closing=True)) is not None:
        order.append(chore)
        chores.done(chore, 0.0, 0.0 if chore == "prune" else None)

    assert order == ["tend", "prune"]
    assert chores.next(closing=True) is None  # though other things are overdue
