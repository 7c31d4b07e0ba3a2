"""How a cluster can be started from a script without a guard, and whether it restarts its workers.

Printed:

    LocalCluster here, file: fails: RuntimeError: Nanny failed to start.
    LocalCluster here, stdin: fails: RuntimeError: Nanny failed to start.
    LocalCluster here, notebook: ready after 8.1 s, a killed worker back after 1.8 s
    subprocess nannies, file: ready after 6.4 s, a killed worker back after 0.9 s
    subprocess nannies, stdin: ready after 7.4 s, a killed worker back after 1.5 s
    subprocess nannies, notebook: ready after 9.6 s, a killed worker back after 1.4 s
    keeper process, file: ready after 2.2 s, a killed worker back after 1.0 s
    keeper process, stdin: ready after 4.9 s, a killed worker back after 1.7 s
    keeper process, notebook: ready after 6.8 s, a killed worker back after 1.2 s

On a machine that was busy with other things; compare lines of one column. A keeper is a process
that holds scheduler and nannies: it boots while this process imports Dask, and its `__main__` is
empty, so that nannies can start workers with multiprocessing at any time. A nanny in a process of
its own costs a second interpreter per worker.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

LOCAL = """
from distributed import LocalCluster
cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50)
address = cluster.scheduler_address
"""
NANNIES = """
from distributed import Scheduler
from distributed.deploy.spec import SpecCluster
from distributed.deploy.subprocess import SubprocessWorker
worker = {"cls": SubprocessWorker, "options": {"worker_kwargs": {
    "nthreads": 1, "host": "127.0.0.1", "silence_logs": 50}}}
scheduler = {"cls": Scheduler, "options": {
    "host": "127.0.0.1", "port": 0, "dashboard": False, "dashboard_address": "127.0.0.1:0"}}
cluster = SpecCluster(workers={0: worker, 1: worker}, scheduler=scheduler, silence_logs=50)
address = cluster.scheduler_address
"""
KEEPER = '''
import subprocess, sys
code = """
from distributed import LocalCluster
import sys
cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50)
print(cluster.scheduler_address, flush=True)
sys.stdin.read()
"""
keeper = subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True)
import distributed
address = keeper.stdout.readline().strip()
'''
USE = """
import os, signal, time
from distributed import Client, wait
client = Client(address, set_as_default=True)
client.wait_for_workers(2, timeout=20)
ready = time.time()
pids = client.run(os.getpid)
os.kill(next(iter(pids.values())), signal.SIGKILL)
while set(client.run(os.getpid, on_error="ignore").values()) == set(pids.values()):
    time.sleep(0.01)
client.wait_for_workers(2, timeout=20)
print(f"ready after {ready - begun:.1f} s, a killed worker back after {time.time() - ready:.1f} s")
os._exit(0)
"""


def attempt(start: str, way: str, folder: str) -> str:
    code = f"import time\nbegun = {time.time()}\n{start}\n{USE}"
    if way == "notebook":
        code = (
            "import nbformat, nbclient\n"
            f"cells = [nbformat.v4.new_code_cell({code.replace('os._exit(0)', '')!r})]\n"
            "book = nbformat.v4.new_notebook(cells=cells)\n"
            "nbclient.NotebookClient(book, timeout=60).execute()\n"
            "print(book.cells[0].outputs[-1]['text'])\n"
        )
    file = Path(folder) / "script.py"
    file.write_text(code)
    command = [sys.executable, "-W", "ignore"] + (["-"] if way == "stdin" else [str(file)])
    given = code if way == "stdin" else None
    try:
        ended = subprocess.run(command, input=given, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return "hangs"
    lines = [line for line in ended.stdout.splitlines() if line.startswith("ready")]
    return lines[-1] if lines else f"fails: {ended.stderr.strip().splitlines()[-1][:80]}"


def main() -> None:
    starts = {"LocalCluster here": LOCAL, "subprocess nannies": NANNIES, "keeper process": KEEPER}
    for name, start in starts.items():
        for way in ("file", "stdin", "notebook"):
            with tempfile.TemporaryDirectory() as folder:
                print(f"{name}, {way}: {attempt(start, way, folder)}", flush=True)


if __name__ == "__main__":
    main()
