"""For tests: of flows and tasks (`harness`, ...), of `runners`, `histories` and `stores`.

The suite for those who write runners needs pytest and psutil, that for those who write histories
pytest and hypothesis, that for result stores pytest, and `postgresql` psycopg; the rest nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fanfold.testing.faults import Raise as Raise
    from fanfold.testing.harnesses import Harness as Harness
    from fanfold.testing.harnesses import harness as harness
    from fanfold.testing.injecting import Exit as Exit
    from fanfold.testing.injecting import Faults as Faults
    from fanfold.testing.injecting import Sleep as Sleep
    from fanfold.testing.ledger import Ledger as Ledger

_HOMES = {
    "Exit": "fanfold.testing.injecting",
    "Faults": "fanfold.testing.injecting",
    "Harness": "fanfold.testing.harnesses",
    "Ledger": "fanfold.testing.ledger",
    "Raise": "fanfold.testing.faults",
    "Sleep": "fanfold.testing.injecting",
    "harness": "fanfold.testing.harnesses",
}

__all__ = ["Exit", "Faults", "Harness", "Ledger", "Raise", "Sleep", "harness"]


def __getattr__(name: str) -> Any:
    """Load a name on first use: pytest imports this package whenever it starts."""
    if name not in _HOMES:
        raise AttributeError(f"module 'fanfold.testing' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
