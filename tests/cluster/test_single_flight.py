"""Elements with equal keys on workers of clusters: one runs, the others take what it has made."""

from collections import Counter
from pathlib import Path

from fanfold import INPUTS, flow, task
from fanfold.ports.runner import TaskRunner
from fanfold.testing.ledger import Ledger


def test_a_hundred_elements_with_the_same_inputs_run_once(
    cluster: TaskRunner, ledger: Ledger, tmp_path: Path
) -> None:
    @task(cache_policy=INPUTS, result_storage=tmp_path / "results")
    def work(x: dict[str, int], y: int) -> list[int]:
        ledger.note("ran", x["at"])
        return [x["at"], y]

    @flow(task_runner=cluster)
    def around() -> tuple[Counter[str], list[list[int]]]:
        futures = work.map([{"at": 1} for _ in range(100)], [2] * 100)
        futures.wait()
        return Counter(future.state.name for future in futures), futures.result()

    states, values = around()

    assert ledger.counts("ran") == {1: 1}
    assert states == {"Completed": 1, "Cached": 99}
    assert values == [[1, 2]] * 100


def test_equal_keys_run_once_wherever_their_inputs_were_made(
    cluster: TaskRunner, ledger: Ledger, tmp_path: Path
) -> None:
    @task(cache_policy=INPUTS, isolation="serializable", result_storage=tmp_path / "results")
    def work(x: int) -> int:
        ledger.note("ran", x)
        return x

    @flow(task_runner=cluster)
    def around() -> tuple[Counter[str], list[int]]:
        futures = work.map(task(lambda x: x % 4).map(range(40)))
        futures.wait()
        return Counter(future.state.name for future in futures), futures.result()

    states, values = around()

    assert ledger.counts("ran") == {0: 1, 1: 1, 2: 1, 3: 1}
    assert states == {"Completed": 4, "Cached": 36}
    assert values == [x % 4 for x in range(40)]
