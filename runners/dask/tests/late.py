"""A chunk whose thread opens a client while another one opens a session."""

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any

from distributed import Client, get_worker
from distributed.client import default_client
from runners.dask.tests import chunks
from runners.dask.tests.desk import until

from fanfold.ports.runner import Session, Site
from fanfold.values.messages import Report
from fanfold_dask import DaskTaskRunner

TRY_S = 0.5
"""How long a session may take to open on a client that isn't connected, if it were to."""


class Late(Client):
    """Connects when it is let."""

    def __init__(self, let: threading.Event, *arguments: Any, **named: Any) -> None:
        self._let = let
        super().__init__(*arguments, **named)

    async def _start(self, *arguments: Any, **named: Any) -> Any:
        await asyncio.to_thread(self._let.wait, 30)
        return await super()._start(*arguments, **named)


def by_site(site: Site) -> Session:
    session = site.session(ignore)
    assert session is not None
    return session


def by_runner(site: Site) -> Session:
    return DaskTaskRunner().open(ignore)


def ignore(chunk: str, message: bytes) -> None:
    return None


OPENERS: dict[str, Callable[[Site], Session]] = {"site": by_site, "runner": by_runner}


def open_beside(needs: Any, shared: Any, site: Site, way: str) -> list[bytes]:
    """Use a session that is opened while this process's first client isn't connected yet."""
    worker = get_worker()
    let, tried = threading.Event(), threading.Event()
    named = {"loop": worker.loop, "security": worker.security, "name": "worker"}
    opening = threading.Thread(target=Late, args=(let, worker.scheduler), kwargs=named)
    opening.start()
    until(has_client)
    letting = threading.Thread(target=lambda: (tried.wait(TRY_S), let.set()))
    letting.start()
    try:
        session: Any = OPENERS[way](site)
        here = session.client.scheduler.address == worker.scheduler.address
        return [use(session, site), b"here" if here else b"elsewhere"]
    finally:
        tried.set()
        opening.join()
        letting.join()


def use(session: Session, site: Site) -> bytes:
    reports: queue.Queue[Report] = queue.Queue()
    try:
        call = chunks.Call(id="inner", act=chunks.give, arguments=(b"inner",))
        ref = session.submit(call, done=reports.put)
        with site.waiting():
            assert reports.get(timeout=30).error is None
        return bytes(session.fetch([ref], 30)[0][0])
    finally:
        session.close()


def has_client() -> bool:
    try:
        return isinstance(default_client(), Late)
    except ValueError:
        return False


def close_own(needs: Any, shared: Any, site: Site) -> list[bytes]:
    """Use a session that was opened beside a client of this task's own, which it closes before."""
    with Client(get_worker().scheduler.address):
        session = by_site(site)
    return [use(session, site)]
