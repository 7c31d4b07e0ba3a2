"""How does Ray start from an unguarded script, from standard input and in a notebook's kernel?

Printed (Ray 2.60, 2 cores):

    as it comes, a file: exit 0; ('__main__', True); listens on {'NODE', '*', '127.0.0.1'};
      import 0.5 s, init 3.1 s, shutdown 1.4 s; 3 lines of noise
       noise: (where pid=11573) a print in a worker
       noise: 2026-11-22 17:54:04,345	WARNING authentication_token_setup.py:85 -- Token
      authentication is enabled for this Ray cluster
       noise: 2026-11-22 17:54:06,988	INFO worker.py:2038 -- Started a local Ray instance.
    as it comes, standard input: exit 0; ('__main__', True); listens on {'NODE', '*',
      '127.0.0.1'}; import 0.8 s, init 7.9 s, shutdown 1.4 s; 3 lines of noise
       noise: (where pid=11885) a print in a worker
       noise: 2026-11-22 17:54:10,193	WARNING authentication_token_setup.py:85 -- Token
      authentication is enabled for this Ray cluster
       noise: 2026-11-22 17:54:16,651	INFO worker.py:2038 -- Started a local Ray instance.
    as it comes, -c, as a kernel has it: exit 0; ('__main__', True); listens on {'NODE', '*'};
      import 0.5 s, init 4.3 s, shutdown 1.3 s; 3 lines of noise
       noise: (where pid=12218) a print in a worker
       noise: 2026-11-22 17:54:20,475	WARNING authentication_token_setup.py:85 -- Token
      authentication is enabled for this Ray cluster
       noise: 2026-11-22 17:54:23,969	INFO worker.py:2038 -- Started a local Ray instance.
    told 127.0.0.1, a file: exit 0; ('__main__', True); listens on {'*', 'NODE'}; import 0.4 s,
      init 3.9 s, shutdown 1.3 s; 3 lines of noise
       noise: (where pid=13092) a print in a worker
       noise: 2026-11-22 17:54:27,089	WARNING authentication_token_setup.py:85 -- Token
      authentication is enabled for this Ray cluster
       noise: 2026-11-22 17:54:30,359	INFO worker.py:2038 -- Started a local Ray instance.
    told 127.0.0.1, standard input: exit 0; ('__main__', True); listens on {'NODE', '*',
      '127.0.0.1'}; import 0.3 s, init 4.2 s, shutdown 1.4 s; 3 lines of noise
       noise: (where pid=13538) a print in a worker
       noise: 2026-11-22 17:54:32,976	WARNING authentication_token_setup.py:85 -- Token
      authentication is enabled for this Ray cluster
       noise: 2026-11-22 17:54:36,320	INFO worker.py:2038 -- Started a local Ray instance.
    told 127.0.0.1, -c, as a kernel has it: exit 0; ('__main__', True); listens on {'NODE', '*',
      '127.0.0.1'}; import 0.5 s, init 7.5 s, shutdown 1.4 s; 3 lines of noise
       noise: (where pid=14136) a print in a worker
       noise: 2026-11-22 17:54:39,896	WARNING authentication_token_setup.py:85 -- Token
      authentication is enabled for this Ray cluster
       noise: 2026-11-22 17:54:46,243	INFO worker.py:2038 -- Started a local Ray instance.
    quiet, loopback, a file: exit 0; ('__main__', True); listens on {'127.0.0.1',
      '[::ffff:127.0.0.1]'}; import 0.5 s, init 6.8 s, shutdown 1.7 s; 0 lines of noise
    quiet, loopback, standard input: exit 0; ('__main__', True); listens on
      {'[::ffff:127.0.0.1]', '127.0.0.1'}; import 0.5 s, init 7.9 s, shutdown 1.4 s; 0 lines of
      noise
    quiet, loopback, -c, as a kernel has it: exit 0; ('__main__', True); listens on
      {'[::ffff:127.0.0.1]', '127.0.0.1'}; import 0.9 s, init 7.6 s, shutdown 1.4 s; 0 lines of
      noise
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
