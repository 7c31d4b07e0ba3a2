"""How does Ray start from an unguarded script, from standard input and in a notebook's kernel?

Printed (Ray 2.60, 2 cores):
@@
"""

import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

QUIET = "logging_level='ERROR', log_to_driver=False"
BODY = """
import os, time
began = time.perf_counter()
import ray
imported = time.perf_counter()
ray.init(num_cpus=2, include_dashboard=False, {options})
started = time.perf_counter()
@ray.remote
def where():
    print("a print in a worker")
    return __name__, os.getcwd() == {folder!r}
print("RESULT", ray.get(where.remote()))
listeners = [line for line in os.popen("ss -ltnpH").read().splitlines() if "pid=" in line]
print("RESULT listens on", {{line.split()[3].rsplit(":", 1)[0] for line in listeners}})
stopping = time.perf_counter()
ray.shutdown()
print(f"RESULT import {{imported - began:.1f}} s, init {{started - imported:.1f}} s, "
      f"shutdown {{time.perf_counter() - stopping:.1f}} s")
"""


def told(name: str, run: subprocess.CompletedProcess) -> None:
    lines = (run.stdout + run.stderr).splitlines()
    results = [line.removeprefix("RESULT ") for line in lines if line.startswith("RESULT")]
    noise = [line for line in lines if not line.startswith("RESULT")]
    print(f"{name}: exit {run.returncode}; {'; '.join(results)}; {len(noise)} lines of noise")
    for line in noise[:4]:
        print("   noise:", line[:120])


def main() -> None:
    loopback = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    with tempfile.TemporaryDirectory() as folder:
        for name, options, extra in (
            ("as it comes", "", {}),
            ("told 127.0.0.1", "_node_ip_address='127.0.0.1'", {}),
            ("quiet, loopback", QUIET, loopback),
        ):
            body = textwrap.dedent(BODY).format(options=options, folder=folder)
            script = Path(folder, "script.py")
            script.write_text(body)
            for how, arguments, given in (
                ("a file", [str(script)], None),
                ("standard input", ["-"], body),
                ("-c, as a kernel has it", ["-c", body], None),
            ):
                run = subprocess.run(
                    [sys.executable, *arguments],
                    input=given,
                    capture_output=True,
                    text=True,
                    cwd=folder,
                    env={**os.environ, **extra},
                    timeout=120,
                )
                told(f"{name}, {how}", run)


if __name__ == "__main__":
    main()
