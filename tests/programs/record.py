"""Records what the programs print under Prefect itself: what they have to print under Fanfold.

Run it in an environment of its own where Prefect 3 is installed; it starts a server of Prefect's on
loopback for the time that it takes, and leaves nothing in the user's own home:

    python -m venv real && real/bin/pip install prefect
    real/bin/python tests/programs/record.py

Last run: Prefect 3.9.1.
"""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).parent
PROGRAMS = sorted(HERE.glob("[0-9][0-9]_*.py"))
RECORD = HERE / "printed_by_prefect.json"
IMPORT = re.compile(r"^((?:from|import) )fanfold\b", re.MULTILINE)
LIMIT_S = 120
