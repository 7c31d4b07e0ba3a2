"""A task waits for the futures it is given, however deep they lie, and for those it names."""

from fanfold import allow_failure, flow, task
from fanfold.futures import wait

diary: list[str] = []


@task
def measure(plot: str, metres: int) -> int:
    diary.append(f"measured {plot}")
    return metres


@task
def area(sides: dict[str, object]) -> int:
    return sides["width"] * sides["lengths"][0]


@task
def fence(square_metres: int) -> str:
    diary.append("fenced")
    return f"fence for {square_metres}"


@task
def dig(depth: int) -> int:
    if depth > 3:
        raise OSError("rock")
    return depth


@task
def report(*findings: object) -> list[str]:
    return [type(finding).__name__ for finding in findings]


@task
def feast() -> str:
    diary.append("feasted")
    return "feast"


@flow
def homestead():
    width, length = measure.submit("w", 6), measure.submit("l", 7)
    surface = area.submit({"width": width, "lengths": [length]})
    fenced = fence.submit(surface)
    party = feast.submit(wait_for=[fenced])
    print(fenced.result(), "then", party.result())
    print(diary[-2:])
    assert diary[-2:] == ["fenced", "feasted"]
    assert sorted(diary[:2]) == ["measured l", "measured w"]

    # Called, not submitted, it takes futures all the same.
    print(fence(measure.submit("shed", 4)))

    hole = dig.submit(9)
    print("despite the rock:", report.submit(allow_failure(hole), 1).result())
    print("anyway:", feast.submit(wait_for=[allow_failure(hole)]).result())

    stuck = report.submit(hole)
    wait([stuck])
    print("without a hole:", stuck.state.is_completed())
    assert not stuck.state.is_completed()
    return "built"


if __name__ == "__main__":
    assert homestead() == "built"
