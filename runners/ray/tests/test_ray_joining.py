"""Joining a Ray that runs, and why one can't be joined, told within half a minute."""

import sys
import time
from collections.abc import Iterator

import pytest
import ray
from runners.ray.tests.heads import Head, Program

from fanfold.values.errors import InfrastructureError, UsageError
from fanfold_ray import RayTaskRunner

pytestmark = pytest.mark.slow

MODE = "os.environ.get('RAY_AUTH_MODE')"
OPEN = """
import os, sys, logging
from fanfold_ray import RayTaskRunner
import ray
logging.basicConfig(format="%(levelname)s %(message)s")

def tried(*given):
    try:
        session = RayTaskRunner(*given).open(print)
    except Exception as error:
        print(f"{type(error).__name__}: {error}")
    else:
        print("AT", ray.get_runtime_context().gcs_address, repr(session.dashboard))
        session.close()
    print("LEFT", ray.is_initialized())
"""


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    started = Head()
    yield started
    started.close()


def said(body: str, settings: dict[str, str]) -> tuple[list[str], str]:
    program = Program(OPEN + body, settings)
    try:
        out, errors = program.end()
    finally:
        program.close()
    return out.splitlines(), errors


def test_a_running_ray_is_joined_by_address_or_variable_and_left_running(head: Head) -> None:
    body = f"tried({head.address!r})\nos.environ['RAY_ADDRESS'] = {head.address!r}\n"

    lines, _ = said(body + "tried()\ntried('auto')\n", head.settings)

    assert lines == [f"AT {head.address} ''", "LEFT False"] * 3
    assert head.processes("gcs_server")


def test_the_users_own_connection_is_used_and_left(head: Head) -> None:
    body = f"""
from fanfold_ray.reaching import loopback_only
with loopback_only():
    ray.init({head.address!r}, logging_level=40)
tried()
tried("10.0.0.5:6379")
tried(None, {{"num_cpus": 1}})
"""

    lines, errors = said(body, head.settings)

    assert lines[:2] == [f"AT {head.address} ''", "LEFT True"]
    assert "10.0.0.5:6379" in lines[2]
    assert head.address in lines[2]
    assert lines[3:] == ["LEFT True", f"AT {head.address} ''", "LEFT True"]
    assert "init_kwargs={'num_cpus': 1} isn't used" in errors


def test_a_token_that_is_missing_or_wrong_is_told_and_never_shown(head: Head) -> None:
    wrong = "fedcba9876543210" * 4
    without = {key: one for key, one in head.settings.items() if key != "RAY_AUTH_TOKEN"}

    for settings in (
        {**without, "RAY_AUTH_MODE": "disabled"},
        {**without, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": wrong},
    ):
        began = time.monotonic()
        lines, errors = said(f"tried({head.address!r})", settings)

        assert lines[0].startswith(f"InfrastructureError: Ray at {head.address} can't be used")
        assert "RAY_AUTH_TOKEN_PATH" in lines[0]
        assert lines[1] == "LEFT False"
        assert time.monotonic() - began < 30
        assert wrong not in str(lines) + errors
        assert head.settings["RAY_AUTH_TOKEN"] not in str(lines) + errors


def test_on_this_machine_a_token_that_is_there_is_used(head: Head) -> None:
    settings = {key: one for key, one in head.settings.items() if key != "RAY_AUTH_MODE"}

    lines, _ = said(f"tried({head.address!r})\nprint({MODE})", settings)

    assert lines == [f"AT {head.address} ''", "LEFT False", "None"]


def test_a_token_that_is_there_is_not_used_where_nobody_asks_for_one() -> None:
    """Whoever has one hears nobody without."""
    head = Head(RAY_AUTH_MODE="disabled")
    body = f"""
session = RayTaskRunner({head.address!r}).open(print)
print({MODE})
session.close()
session = RayTaskRunner("local").open(print)
print({MODE})
session.close()
tried({head.address!r})
"""
    settings = {key: one for key, one in head.settings.items() if key != "RAY_AUTH_MODE"}
    try:
        lines, _ = said(body, settings)
    finally:
        head.close()

    assert lines == ["None", "token", f"AT {head.address} ''", "LEFT False"]


def test_another_version_is_told_with_both(head: Head) -> None:
    body = f"""
import json
from fanfold_ray.reaching import loopback_only
with loopback_only():
    ray.init({head.address!r}, logging_level=40)
from ray._private.worker import global_worker
table = global_worker.gcs_client
was = table.internal_kv_get(b"CLUSTER_METADATA", b"cluster")
other = json.loads(was) | {{"ray_version": "2.1.0", "python_version": "3.9.7"}}
table.internal_kv_put(b"CLUSTER_METADATA", json.dumps(other).encode(), True, b"cluster")
try:
    head = {head.address!r}
    from contextlib import ExitStack
    from fanfold_ray.reaching import reach
    reach(head, ExitStack())
except Exception as error:
    print(f"{{type(error).__name__}}: {{error}}")
finally:
    table.internal_kv_put(b"CLUSTER_METADATA", was, True, b"cluster")
"""

    (line,), _ = said(body, head.settings)

    assert line.startswith("VersionMismatch: ")
    for told in ("2.1.0", "3.9.7", ray.__version__, "ray==2.1.0"):
        assert told in line


def test_arguments_for_new_rays_are_refused_for_running_ones(head: Head) -> None:
    lines, _ = said(f"tried({head.address!r}, {{'num_cpus': 1}})", head.settings)

    assert lines[0].startswith("UsageError: ")
    assert "num_cpus" in lines[0]
    assert lines[1] == "LEFT False"


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_where_nobody_listens_that_is_told_soon(scheme: str) -> None:
    began = time.monotonic()

    with pytest.raises(InfrastructureError, match="can't be reached: Connection refused"):
        RayTaskRunner(f"{scheme}anna:geheim@127.0.0.1:1").open(print)

    assert time.monotonic() - began < 30
    assert not ray.is_initialized()


def test_what_is_no_address_is_told() -> None:
    with pytest.raises(UsageError, match="'head' can't be understood"):
        RayTaskRunner("head").open(print)


def test_a_client_that_is_not_installed_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grpc", None)

    with pytest.raises(UsageError, match=r"pip install 'fanfold-ray\[client\]'"):
        RayTaskRunner("ray://127.0.0.1:1").open(print)
