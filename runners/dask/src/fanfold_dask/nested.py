"""Sessions that running chunks open on the cluster that they run on."""

from collections.abc import Callable

from distributed import Worker

from fanfold.values.errors import InfrastructureError
from fanfold_dask import resident
from fanfold_dask.failures import translate
from fanfold_dask.session import DaskSession


def open_on_worker(worker: Worker, heard: Callable[[str, bytes], None]) -> DaskSession:
    """Open a session on a worker's own client.

    Raises:
        InfrastructureError: The scheduler can't be reached.
    """
    client = resident.of(worker)
    try:
        return DaskSession(client, heard)
    except InfrastructureError:
        raise
    except Exception as error:
        # Nothing is lost: it is told as what it means.
        raise translate(error, "Opening a session inside a task") from error
