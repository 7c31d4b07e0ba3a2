"""Dask's dashboard, made when somebody first looks at it.

Importing it takes half a second, by which every cluster would start later, and most are never
looked at. The scheduler's web server runs in any case; so asking for a page that isn't there makes
them all. Nothing is missed: what a page shows is recorded from its first view on in any case.
"""

import asyncio
import importlib
import socket
from importlib.util import find_spec
from typing import Any

from distributed import Scheduler
from distributed.utils import format_dashboard_link
from tornado import web

ANY_PORT = "127.0.0.1:0"
"""For what the scheduler serves in any case, where nobody is to look at it."""

_HOST, _PORT = "127.0.0.1", 8787
"""Where Dask's users look first."""


def possible() -> bool:
    """Return whether there can be a dashboard; takes a millisecond."""
    return find_spec("bokeh") is not None


def address() -> str:
    """Return where a dashboard is to be: at Dask's usual port, or at another if it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, _PORT))
        except OSError:
            return ANY_PORT
    return f"{_HOST}:{_PORT}"


async def prepare(scheduler: Scheduler) -> str:
    """Have the scheduler make its dashboard at the first look, and return where that is."""
    arguments = {"scheduler": scheduler, "making": asyncio.Lock()}
    scheduler.http_application.add_application(web.Application([(r"/.*", _Maker, arguments)]))
    server: Any = scheduler.http_server
    return link(server.address, server.port)


def there(dask_scheduler: Scheduler) -> bool:
    """Return whether a scheduler serves more than its health and metrics; run on it."""
    return bool(dask_scheduler.http_application.applications)


def link(host: str, port: int) -> str:
    """Return a dashboard's address, as Dask's setting `distributed.dashboard.link` has it."""
    return format_dashboard_link(f"[{host}]" if ":" in host else host, port)


class _Maker(web.RequestHandler):
    """Answers what the scheduler itself doesn't: makes the dashboard, and sends there again."""

    def initialize(self, scheduler: Scheduler, making: asyncio.Lock) -> None:
        self._scheduler = scheduler
        self._making = making

    async def get(self) -> None:
        try:
            async with self._making:
                await _make(self._scheduler, self.application)
        except ImportError as error:
            self.set_status(501)
            self.set_header("Content-Type", "text/plain")
            self.write(f"Dask's dashboard can't be loaded: {error}")
            return
        self.redirect(self.request.uri or "/")


async def _make(scheduler: Scheduler, waiting: web.Application) -> None:
    applications = scheduler.http_application.applications
    if waiting not in applications:
        return  # another request was first
    dashboard: Any = await asyncio.to_thread(
        importlib.import_module, "distributed.dashboard.scheduler"
    )
    dashboard.connect(scheduler.http_application, scheduler.http_server, scheduler, prefix="/")
    applications.remove(waiting)
