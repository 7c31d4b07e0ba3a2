"""Calls a task under SERIALIZABLE in a process of its own: `python -m ... FOLDER RENEW_S`.

Results are where the settings have them.

Says "began" in the folder's ledger before, "ran" while the body runs, which then waits at the gate
of the folder, and at the end the name of the state.
"""

import sys

from fanfold import INPUTS, task
from fanfold.engine.results import claims
from fanfold.testing.ledger import Gate, Ledger

DEADLINE_S = 60.0


def main(folder: str, renew_s: str) -> None:
    """Call it once."""
    claims.RENEW_S = float(renew_s)
    ledger, gate = Ledger(folder), Gate(f"{folder}/gate")

    @task(cache_policy=INPUTS.configure(isolation_level="SERIALIZABLE"))
    def work(x: int) -> int:
        ledger.note("ran", x)
        assert gate.wait(DEADLINE_S)
        return x

    ledger.note("began", 1)
    state = work(1, return_state=True)
    ledger.note("ended", state.name, state.result())


if __name__ == "__main__":
    main(*sys.argv[1:])
