"""Where tests keep results on S3: a bucket of a server on this machine."""

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from fanfold.adapters.results.fsspec_store import FsspecStore
from fanfold.values.ids import new_id
from tests.stores.s3_server import Control

ROOT = Path(__file__).parents[2]
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "tester",
    "AWS_SECRET_ACCESS_KEY": "kept by nobody",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/nowhere",
    "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
}
"""For the environment of whoever uses one of the servers; none of them looks closer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Place:
    """A bucket that is there and empty at a test's beginning."""

    endpoint: str
    bucket: str

    @property
    def options(self) -> dict[str, Any]:
        """What a file system is made with: the endpoint, and no proxy on the way to it."""
        return {"endpoint_url": self.endpoint, "config_kwargs": {"proxies": {}}}

    def url(self, prefix: str = "results") -> str:
        return f"s3://{self.bucket}/{prefix}"

    def store(self, prefix: str = "results") -> FsspecStore:
        return FsspecStore(self.url(prefix), self.options)

    def be_default(self, environment: pytest.MonkeyPatch) -> None:
        """Have this process, and those that it starts, keep results here."""
        environment.setenv("FANFOLD_RESULTS_DEFAULT_STORAGE", self.url())
        environment.setenv("FANFOLD_RESULTS_STORAGE_OPTIONS", json.dumps(self.options))

    @property
    def control(self) -> Control:
        """Faults and counts; of the tests' own server alone."""
        return Control(self.endpoint, self.bucket)


def new_place(endpoint: str) -> S3Place:
    """Make a bucket; by a request without a signature, which these servers take."""
    bucket = f"bucket-{new_id().lower()}"
    with urlopen(Request(f"{endpoint}/{bucket}", method="PUT"), timeout=60):
        return S3Place(endpoint=endpoint, bucket=bucket)


@contextlib.contextmanager
def started(command: Sequence[str], mark: str) -> Generator[str]:
    """Start a server; return the URL that it tells in the first line with a mark.

    Its input is a pipe, which ends with this process, whatever ends that; then it shall end too.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
    )
    assert process.stdin is not None and process.stdout is not None
    drain = threading.Thread(target=process.stdout.read)  # or it stands still when the pipe is full
    try:
        said: list[str] = []
        for line in process.stdout:
            said.append(line)
            if mark in line:
                break
        drain.start()
        assert said and mark in said[-1], f"{command[0]} didn't start: {''.join(said)}"
        yield "http://" + said[-1].partition("http://")[2].strip().rstrip("]/")
    finally:
        process.stdin.close()
        process.wait()
        drain.join()
        process.stdout.close()


def guarded(command: Sequence[str]) -> list[str]:
    """Return a command that ends another one, of a server that heeds no input, with its input."""
    script = '"$@" & server=$!; exec >/dev/null 2>&1; cat; kill -9 $server'
    return ["sh", "-c", script, "sh", *command]


def own_server() -> contextlib.AbstractContextManager[str]:
    """Start the tests' own S3 in a process, so that it doesn't take turns with who asks it."""
    return started([sys.executable, "-m", "tests.stores.s3_server"], "http://")
