"""How sessions of processes end with their driver: by itself, by a signal, or killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.unit.adapters.local_desk import is_there, wait_for_end

SCRIPT = """
print("imported", flush=True)
import sys, tempfile, threading
from pathlib import Path
from types import SimpleNamespace
from fanfold.adapters.runners import parcels
from fanfold.adapters.runners.processes import ProcessTaskRunner
from fanfold.adapters.runners.threads import ThreadPoolTaskRunner
from tests.unit.adapters import local_chunks as chunks

parcels.MEMORY_FOLDER = Path(tempfile.gettempdir())
started = threading.Event()
session = {runner}(max_workers=2).open(lambda chunk, message: started.set())
ref = session.submit(chunks.Processes(id="one"), done=lambda report: None)
((buffer,),) = session.fetch([ref])
print(bytes(buffer).decode(), flush=True)
started.clear()
"""
FLOW = """
import hashlib, os, signal, sys, tempfile, time
from pathlib import Path
from fanfold import flow, task
from fanfold.adapters.runners import parcels
from fanfold.adapters.runners.processes import ProcessTaskRunner

parcels.MEMORY_FOLDER = Path(tempfile.gettempdir())
# Whoever runs the tests may have had nohup ignore it.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
busy = {
    "sleeping": lambda: time.sleep(60),
    "holding the GIL": lambda: sum(range(10**12)),
    "in C": lambda: hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9),
}

@task
def work(x, how):
    os.write(1, f"{os.getpid()} {os.getppid()}\\n".encode())
    busy[how]()

@flow(task_runner=ProcessTaskRunner(max_workers=2))
def mapping(how):
    work.map(range(8), how).result()

mapping(sys.argv[1])
"""
LEAVES_IT_RUNNING = """
ref = session.submit(chunks.UntilStopped(id="running"), done=lambda report: None)
started.wait()
print("running", flush=True)
"""
WAITS = """
sys.stdin.readline()
"""


class TestEnds:
    @pytest.fixture
    def environment(self, tmp_path: Path) -> dict[str, str]:
        (tmp_path / "temporary").mkdir()
        path = os.pathsep.join(str(entry) for entry in sys.path if entry)
        return os.environ | {"PYTHONPATH": path, "TMPDIR": str(tmp_path / "temporary")}

    @pytest.mark.parametrize("standard_input", [False, True])
    def test_a_script_needs_no_guard(
        self, standard_input: bool, tmp_path: Path, environment: dict[str, str]
    ) -> None:
        script = SCRIPT.format(runner="ProcessTaskRunner") + "session.close()\n"
        (tmp_path / "script.py").write_text(script)

        ended = subprocess.run(
            [sys.executable, "-" if standard_input else "script.py"],
            input=script if standard_input else "",
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

        assert ended.returncode == 0, ended.stderr
        assert ended.stderr == ""
        first, processes = ended.stdout.splitlines()
        assert first == "imported"
        assert len(processes.split()) == 2

    @pytest.mark.parametrize("runner", ["ProcessTaskRunner", "ThreadPoolTaskRunner"])
    def test_an_exit_without_close_waits_for_nobody(
        self, runner: str, tmp_path: Path, environment: dict[str, str]
    ) -> None:
        script = SCRIPT.format(runner=runner) + LEAVES_IT_RUNNING

        ended = subprocess.run(
            [sys.executable, "-c", script],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

        assert ended.returncode == 0, ended.stderr
        worker, server = ended.stdout.splitlines()[1].split()
        if runner == "ProcessTaskRunner":
            assert not is_there(int(worker))
            assert not is_there(int(server))
        assert list((tmp_path / "temporary").iterdir()) == []

    def test_a_killed_driver_leaves_nothing(
        self, tmp_path: Path, environment: dict[str, str]
    ) -> None:
        script = SCRIPT.format(runner="ProcessTaskRunner") + LEAVES_IT_RUNNING + WAITS
        with subprocess.Popen(
            [sys.executable, "-c", script],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as driver:
            assert driver.stdout is not None
            assert driver.stdout.readline() == "imported\n"
            worker, server = map(int, driver.stdout.readline().split())
            assert driver.stdout.readline() == "running\n"

            driver.kill()

            wait_for_end(worker)
            wait_for_end(server)
        assert list((tmp_path / "temporary").iterdir()) == []

    @pytest.mark.parametrize("how", ["sleeping", "holding the GIL", "in C"])
    @pytest.mark.parametrize(
        "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL]
    )
    def test_a_signal_to_the_driver_leaves_nothing(
        self, number: signal.Signals, how: str, tmp_path: Path, environment: dict[str, str]
    ) -> None:
        (tmp_path / "script.py").write_text(FLOW)
        with subprocess.Popen(
            [sys.executable, "script.py", how],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        ) as driver:
            assert driver.stdout is not None and driver.stderr is not None
            lines = [driver.stdout.readline() for _ in range(2)]
            processes = {int(word) for line in lines for word in line.split()}

            # As a terminal does: all processes of the group get it.
            os.killpg(driver.pid, number)
            began = time.monotonic()
            # The processes hold the other end of the pipe, so this ends with the last of them.
            told = driver.stderr.read()
            for process in processes:
                wait_for_end(process)
            took_s = time.monotonic() - began

        assert len(processes) == 3
        assert took_s < 2.0
        # Either it died of the signal, or a shell would take its exit code for that.
        assert driver.returncode in (-number, 128 + number)
        assert told.count("Traceback") == (number is signal.SIGINT), told
        assert list((tmp_path / "temporary").iterdir()) == []
