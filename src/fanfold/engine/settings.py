"""Where things are kept and what is in force when nothing else is said."""

import os
from pathlib import Path

HOME = "FANFOLD_HOME"
DEFAULT_RUNNER = "threads"


def home() -> Path:
    """Return the folder below which everything is kept; `FANFOLD_HOME`, or `~/.fanfold`."""
    return Path(os.environ.get(HOME) or Path.home() / ".fanfold").expanduser().absolute()
