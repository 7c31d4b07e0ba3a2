"""A flow calls flows as functions: each is a run of its own, with a state and a runner."""

from fanfold import flow, task
from fanfold.runtime import flow_run


@task
def catch(river: str) -> list[int]:
    return [len(river), len(river) * 2]


@flow(name="weigh-in")
def weigh_in(fish: list[int], limit: int = 10) -> dict[str, object]:
    return {
        "kept": [grams for grams in fish if grams < limit],
        "flow": flow_run.flow_name,
        "parent": flow_run.parent_flow_run_id,
    }


@flow
def strict(fish: list[int]) -> int:
    if max(fish) > 10:
        raise RuntimeError("over the limit")
    return max(fish)


@flow
def countdown(start: int) -> list[int]:
    return [start, *countdown(start - 1)] if start else [0]


@flow(name="season")
def season(river: str):
    mine = flow_run.id
    # A future becomes its value on the way into a flow.
    report = weigh_in(catch.submit(river))
    print("kept", report["kept"], "in", report["flow"], "inside", flow_run.flow_name)
    assert report["parent"] == mine
    assert flow_run.id == mine

    state = strict(catch(river), return_state=True)
    print("strict", state.name, state.result(raise_on_failure=False))
    assert state.is_failed()
    try:
        strict(catch(river))
    except RuntimeError as error:
        print("caught", error)

    return strict([3, 7])


if __name__ == "__main__":
    state = season("loire-x", return_state=True)
    print("season", state.name, state.result())
    assert state.is_completed() and state.result() == 7

    print("nested", countdown(3))
    assert countdown(3) == [3, 2, 1, 0]
