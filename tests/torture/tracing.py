"""What threads ask of the system, seen and struck by `strace`.

strace counts the calls of each thread on its own, so one thread is watched at a time: the N-th of
its calls is then a moment of its work, whatever the others do meanwhile.
"""

import subprocess
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

STATE_CHANGING = (
    "creat,open,openat,openat2,write,writev,pwrite64,pwritev,pwritev2,sendfile,splice,"
    "copy_file_range,truncate,ftruncate,fallocate,fsync,fdatasync,sync_file_range,syncfs,msync,"
    "mkdir,mkdirat,rmdir,mknod,mknodat,link,linkat,symlink,symlinkat,unlink,unlinkat,rename,"
    "renameat,renameat2,chmod,fchmod,fchmodat,chown,fchown,fchownat,lchown,utimensat,setxattr,"
    "fsetxattr,removexattr"
)
"""Calls that may change what a storage holds, or how durable it is."""


@contextmanager
def watched(thread: int, options: Sequence[str], *, others: bool = False) -> Generator[None]:
    """Have strace attached to a thread, and wait at the end until that, or what it traced, ends.

    Args:
        thread: The system's id.
        options: Of strace, beside the thread.
        others: Whether all threads of its process are watched.
    """
    everyone = ["--follow-forks"] if others else []
    command = ["strace", *everyone, *options, "-p", str(thread)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr is not None
        said = strace.stderr.readline()
        assert "attached" in said, said
        try:
            yield
        finally:
            strace.stderr.read()


def killing(call: str, number: int) -> list[str]:
    """Return the options by which a thread is killed as it enters the N-th of such calls."""
    inject = f"inject={call}:signal=KILL:when={number}"
    return ["-o", "/dev/null", "-e", f"trace={call}", "-e", inject]


def listing(file: Path) -> list[str]:
    """Return the options by which all calls of interest are listed."""
    known = ",".join(f"?{call}" for call in STATE_CHANGING.split(","))  # not every machine has all
    return ["-y", "-o", str(file), "-e", f"trace={known}"]


def counts(file: Path, folder: Path) -> dict[int, Counter[str]]:
    """Return how often each thread made each call that changed something in a folder.

    Args:
        file: What strace listed of all threads.
        folder: Calls about something else are left out.
    """
    found: dict[int, Counter[str]] = {}
    for line in file.read_text().splitlines():
        thread, _, rest = line.partition(" ")
        call, bracket, about = rest.strip().partition("(")
        reads = call.startswith("open") and "O_CREAT" not in about and "O_TRUNC" not in about
        if bracket and str(folder) in about and not reads:
            found.setdefault(int(thread), Counter())[call] += 1
    return found
