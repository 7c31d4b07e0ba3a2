"""Where the checks get histories in memory from, whose time they can let pass."""

from fanfold.adapters.history.memory import MemoryHistory
from fanfold.adapters.history.rules import RENEWALS
from fanfold.testing.checks_comparing import Clock
from fanfold.testing.places import Places
from fanfold.values.ids import new_id

RENEWAL_S = 15.0


def memory_places(kind: type[MemoryHistory]) -> Places:
    clock = Clock()

    def pass_time(url: str) -> None:
        clock.at_us += int(RENEWALS * RENEWAL_S * 1_000_000)

    def unreachable() -> MemoryHistory:
        history = kind(f"memory://{new_id()}")
        history.outage = "it was taken away"
        return history

    return Places(
        open=lambda url: kind(url, clock=clock, renewal_s=RENEWAL_S),
        fresh=lambda: f"memory://{new_id()}",
        unreachable=unreachable,
        pass_time=pass_time,
        shared=False,
    )
