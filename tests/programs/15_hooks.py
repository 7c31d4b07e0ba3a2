"""Hooks are called as runs change state: with the flow or task, the run, and its state."""

from functools import partial

from fanfold import flow, task

told: list[str] = []


def note(subject, run, state, **facts) -> None:
    extra = "".join(f" {key}={value}" for key, value in sorted(facts.items()))
    told.append(f"{subject.name} {state.name}{extra}")


def broken(subject, run, state) -> None:
    raise RuntimeError("a hook that fails harms nobody")


async def note_later(subject, run, state) -> None:
    told.append(f"{subject.name} {state.name} later")


@task(on_running=[note], on_completion=[broken, note, note_later], on_failure=[note])
def bake(loaves: int) -> int:
    if loaves < 0:
        raise ValueError("loaves owed")
    return loaves


@task(retries=2, on_failure=[note], on_completion=[note])
def burn() -> None:
    told.append("burnt")
    raise OSError("smoke")


@flow(on_running=[note], on_completion=[note], on_failure=[note])
def bakery(loaves: int) -> int:
    return bake(loaves)


@bakery.on_completion
def celebrate(flow, run, state) -> None:
    told.append(f"cake after {run.name} of {flow.name}")


@flow
def kitchen(guests: int = 3):
    warned = burn.with_options(on_failure=[partial(note, guests=guests)])
    return "smoky", warned(return_state=True).name


if __name__ == "__main__":
    named = bakery.with_options(flow_run_name="dawn")
    print(named(12))
    print(*told, sep="\n")
    assert "bake Completed later" in told and told[-1] == "cake after dawn of bakery"

    told.clear()
    state = bakery(-1, return_state=True)
    print(state.name)
    print(*told, sep="\n")
    assert told[-1] == "bakery Failed"

    told.clear()
    print(kitchen())
    print(*told, sep="\n")
    assert told == ["burnt", "burnt", "burnt", "burn Failed guests=3"], "only after the last try"

    try:
        flow(on_failure=[3])(bakery.fn)
    except TypeError as error:
        print("refused", type(error).__name__)
