"""What a DaskTaskRunner takes, refuses, and shows of it."""

import dataclasses
import pickle
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from distributed import Client
from runners.dask.tests import customs

from fanfold.values.errors import InfrastructureError, UsageError
from fanfold_dask import DaskTaskRunner

AT = "tcp://127.0.0.1:8786"
LIVE: Any = object()
"""Stands for a live cluster or client where none is used."""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"address": AT, "cluster": LIVE}, "address and cluster"),
        ({"address": AT, "cluster_class": "distributed.LocalCluster"}, "address and cluster_class"),
        ({"address": AT, "cluster_kwargs": {"n_workers": 1}}, "address and cluster_kwargs"),
        ({"address": AT, "adapt_kwargs": {"minimum": 1}}, "address and adapt_kwargs"),
        ({"cluster": LIVE, "cluster_class": customs.small}, "cluster and cluster_class"),
        ({"cluster": LIVE, "cluster_kwargs": {"n_workers": 1}}, "cluster and cluster_kwargs"),
        ({"client": LIVE, "cluster": LIVE}, "client and cluster"),
        ({"client": LIVE, "address": AT}, "client and address"),
        ({"client": LIVE, "client_kwargs": {"timeout": 1}}, "client and client_kwargs"),
        ({"cluster_kwargs": {"asynchronous": True}}, "cluster_kwargs can't hold 'asynchronous'"),
        ({"client_kwargs": {"asynchronous": False}}, "client_kwargs can't hold 'asynchronous'"),
        ({"client_kwargs": {"address": AT}}, "client_kwargs can't hold 'address'"),
        ({"cluster": AT}, "an address is address="),
        ({"address": LIVE}, "a live cluster is cluster="),
        ({"cluster_class": LIVE}, "a live cluster is cluster="),
        ({"cluster_class": "LocalCluster"}, "'LocalCluster' is no import path"),
    ],
)
def test_arguments_that_contradict_each_other_are_refused(
    arguments: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        DaskTaskRunner(**arguments)


def test_arguments_may_come_in_the_order_that_users_of_prefect_know() -> None:
    runner = DaskTaskRunner(
        None, None, customs.small, {"workers": 2}, {"minimum": 0}, {"timeout": 1}, "report.html"
    )

    assert runner == DaskTaskRunner(
        cluster_class=customs.small,
        cluster_kwargs={"workers": 2},
        adapt_kwargs={"minimum": 0},
        client_kwargs={"timeout": 1},
        performance_report_path="report.html",
    )
    assert DaskTaskRunner(None, "", None, None, None, None) == DaskTaskRunner()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"address": "tls://127.0.0.1:8786", "client_kwargs": {"timeout": "5s"}},
        {"cluster_class": "runners.dask.tests.customs.Noted", "adapt_kwargs": {"minimum": 0}},
        {"cluster_class": customs.Noted, "cluster_kwargs": {"n_workers": 2}},
        {"performance_report_path": "report.html"},
    ],
)
def test_runners_of_equal_arguments_are_equal_and_pickle(arguments: dict[str, Any]) -> None:
    runner = DaskTaskRunner(**arguments)

    copy = pickle.loads(pickle.dumps(runner))

    assert copy == runner == DaskTaskRunner(**arguments)
    assert hash(copy) == hash(runner)
    assert copy != DaskTaskRunner(address=AT)
    assert repr(copy) == repr(runner)


def test_a_runner_that_holds_something_live_says_why_it_does_not_pickle(client: Client) -> None:
    for name, live in (("client", client), ("cluster", client.cluster)):
        runner = DaskTaskRunner(**{name: live})
        assert runner == DaskTaskRunner(**{name: live})
        with pytest.raises(TypeError, match=f"live {name}.*address= instead of {name}="):
            pickle.dumps(runner)


def test_arguments_are_copied() -> None:
    given = {"n_workers": 1}
    runner = DaskTaskRunner(cluster_kwargs=given)

    given["n_workers"] = 5

    assert runner.cluster_kwargs == {"n_workers": 1}
    assert dataclasses.replace(runner, cluster_kwargs={}, address=AT).address == AT


def test_no_credentials_are_shown() -> None:
    runner = DaskTaskRunner(
        cluster_class="cloud.Cluster",
        cluster_kwargs={
            "image": "mine:1",
            "api_token": "secret-word",
            "environment": {"AWS_SECRET_ACCESS_KEY": "secret-word", "HOME": "/home"},
            "preload": ["https://me:secret-word@host/setup.py?sign=secret-word"],
        },
    )
    at = DaskTaskRunner(address="wss://me:secret-word@host:443/proxy?token=secret-word")

    assert "secret-word" not in repr(runner) + str(runner) + repr(at)
    assert "mine:1" in repr(runner)
    assert "/home" in repr(runner)
    assert "host:443/proxy" in repr(at)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("no_such_package.Cluster", "'no_such_package'"),
        ("distributed.no_such_module.Cluster", "'distributed.no_such_module'"),
        ("distributed.NoSuchCluster", "no class or function 'NoSuchCluster'"),
        ("distributed:__version__", "no class or function '__version__'"),
    ],
)
def test_what_cannot_be_imported_is_named(path: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        DaskTaskRunner(cluster_class=path).open(lambda chunk, message: None)


@pytest.mark.parametrize(
    ("address", "advice"),
    [
        ("http://127.0.0.1:8787/status", "a web page's address"),
        ("foo://127.0.0.1:8786", "looks like tcp://"),
        ("tcp://127.0.0.1", "looks like tcp://"),
        ("tcp://127.0.0.1:1", "Is the scheduler running"),
        ("tls://127.0.0.1:1", "name the certificates"),
    ],
)
def test_an_address_where_nothing_is_says_what_to_try(address: str, advice: str) -> None:
    runner = DaskTaskRunner(address=address, client_kwargs={"timeout": 0.3})

    with pytest.raises(InfrastructureError, match=advice) as caught:
        runner.open(lambda chunk, message: None)

    assert address in str(caught.value)


def test_a_web_server_is_told_from_a_scheduler() -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        address = f"tcp://127.0.0.1:{server.server_port}"
        try:
            with pytest.raises(InfrastructureError, match="it is no Dask scheduler"):
                DaskTaskRunner(address=address, client_kwargs={"timeout": 0.5}).open(print)
        finally:
            server.shutdown()
            serving.join()


def test_without_dask_it_says_what_to_install() -> None:
    script = """
import sys
sys.modules["distributed"] = None
from fanfold_dask import DaskTaskRunner, get_dask_client
for arguments in ({}, {"address": "tcp://127.0.0.1:1"}, {"cluster_class": "distributed.Nanny"}):
    try:
        DaskTaskRunner(**arguments).open(print)
    except Exception as error:
        print(type(error).__name__, error)
"""
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )

    lines = ended.stdout.splitlines()
    assert len(lines) == 3, ended.stderr
    for line in lines:
        assert line.startswith("UsageError Dask can't be imported here")
        assert "pip install 'fanfold[dask]'" in line
