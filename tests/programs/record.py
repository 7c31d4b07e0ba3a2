"""Records what the programs print under Prefect itself: what they have to print under Fanfold too.

Run it in an environment of its own where Prefect 3 is installed. It starts a server of Prefect's on
loopback for the time that it takes, and keeps everything in a folder that it removes:

    python -m venv real && real/bin/pip install prefect
    real/bin/python tests/programs/record.py

Last run: Prefect 3.9.1.
"""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).parent
RECORD = HERE / "printed_by_prefect.json"
OURS = re.compile(r"^(\s*(?:from|import)) fanfold\b", re.MULTILINE)
LIMIT_S = 120


@contextmanager
def server(environment: dict[str, str]) -> Generator[str]:
    """Run Prefect's server and yield its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([*command, "--port", str(port)], env=environment, **quiet)
    try:
        address = f"http://127.0.0.1:{port}/api"
        answers(f"{address}/health")
        yield address
    finally:
        process.terminate()
        process.wait()


def answers(address: str) -> None:
    """Return once the server answers."""
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(address, timeout=LIMIT_S):
                return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(f"{address} doesn't answer")


def main() -> None:
    """Run each program with the other import and write what it printed."""
    printed = {}
    with TemporaryDirectory() as folder:
        environment = os.environ | {
            "PREFECT_HOME": folder,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        }
        with server(environment) as address:
            environment["PREFECT_API_URL"] = address
            for path in sorted(HERE.glob("[0-9][0-9]_*.py")):
                program = Path(folder, path.name)
                program.write_text(OURS.sub(r"\1 prefect", path.read_text()))
                command = [sys.executable, str(program)]
                run = {"capture_output": True, "text": True, "timeout": LIMIT_S}
                ended = subprocess.run(command, env=environment, **run)
                if ended.returncode:
                    sys.exit(f"{path.name}: {ended.stderr}")
                printed[path.stem] = ended.stdout.splitlines()
                print(path.stem)
    facts = {"prefect": version("prefect"), "printed": printed}
    RECORD.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
