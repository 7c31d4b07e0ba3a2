import gc
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from fanfold.adapters.runners import parcels
from fanfold.adapters.runners.processes import ProcessTaskRunner
from fanfold.values.errors import (
    ChunkCancelled,
    InfrastructureError,
    ResourcesUnavailable,
    SessionClosed,
    ValuesLost,
    WorkerLost,
)
from tests.unit.adapters import local_chunks as chunks
from tests.unit.adapters.local_chunks import DEADLINE_S, Chunk
from tests.unit.adapters.local_desk import Desk, Pipe, is_there, opened, wait_for_end


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Put the files of sessions to a place of the test's own; return what lists them."""
    memory, disk = tmp_path / "memory", tmp_path / "disk"
    memory.mkdir()
    disk.mkdir()
    monkeypatch.setattr(parcels, "MEMORY_FOLDER", memory)
    monkeypatch.setattr(tempfile, "tempdir", str(disk))
    return lambda: sorted(
        path.name for top in (memory, disk) for path in top.rglob("*") if path.name != "flags"
    )


KILLED = "was killed by signal 9 (SIGKILL)"


def processes_of(desk: Desk) -> tuple[int, int]:
    """Return the ids of a worker and of the fork server."""
    worker, server = desk.run(chunks.Processes(id="processes")).split()
    return int(worker), int(server)


class TestProcesses:
    @pytest.mark.parametrize(
        ("chunk", "how"),
        [
            (chunks.Killed(id="bad"), KILLED),
            (chunks.Segfaulting(id="bad"), "was killed by signal 11 (SIGSEGV)"),
            (chunks.Exiting(id="bad", code=7), "ended with exit code 7"),
            (chunks.Deafened(id="bad"), KILLED),
            (
                chunks.Orphaning(id="bad"),
                f"lost its fork server, which {KILLED}",
            ),
        ],
    )
    def test_a_dead_worker_takes_only_its_chunk(self, chunk: Chunk, how: str) -> None:
        with opened(ProcessTaskRunner(max_workers=1)) as desk:
            worker, _ = processes_of(desk)

            refs = [desk.submit(one) for one in (chunk, Chunk(id="next"), Chunk(id="last"))]

            report = desk.wait_for_report("bad")
            assert isinstance(report.error, WorkerLost)
            assert str(report.error) == (f"Worker {report.worker} {how} while it ran chunk bad.")
            assert report.worker.split("/")[1] == str(worker)
            assert report.started
            assert desk.session.fetch(refs[1:], DEADLINE_S) == [[b"next"], [b"last"]]
            assert processes_of(desk)[0] != worker

    def test_a_worker_that_dies_idle_is_replaced(self) -> None:
        with opened(ProcessTaskRunner(max_workers=1)) as desk:
            worker, _ = processes_of(desk)
            os.kill(worker, signal.SIGKILL)
            wait_for_end(worker)
            desk.submit(Chunk(id="next"))

            # Either it was handed over before the death was noticed, and then never read.
            report = desk.wait_for_report("next")
            assert report.error is None or not report.started
            assert desk.run(Chunk(id="last")) == b"last"

    def test_values_survive_their_worker(self) -> None:
        with opened(ProcessTaskRunner(max_workers=1)) as desk:
            refs = [
                desk.submit(chunks.Large(id="small", size=10)),
                desk.submit(chunks.Large(id="large", size=100_000)),
            ]
            desk.submit(chunks.Killed(id="killed"))
            desk.wait_for_report("killed")

            joined = desk.run(chunks.Changing(id="join"), refs)

            assert joined == b"!" + b"x" * 9 + b"!" + b"x" * 99_999
            # The reader changed its own views alone.
            assert desk.session.fetch(refs) == [[b"x" * 10], [b"x" * 100_000]]

    def test_values_move_between_workers(self, pipe: Pipe, other_pipe: Pipe) -> None:
        with opened(ProcessTaskRunner(max_workers=2)) as desk:
            reader = desk.submit(chunks.Blocked(id="on the reader", pipe=pipe.path))
            desk.wait_for_start("on the reader")
            upstream = desk.submit(chunks.Large(id="large", size=100_000))
            desk.submit(chunks.Blocked(id="on the writer", pipe=other_pipe.path), [upstream])
            desk.wait_for_start("on the writer")
            pipe.release()
            desk.session.fetch([reader], DEADLINE_S)

            assert desk.run(chunks.Changing(id="read"), [upstream]) == b"!" + b"x" * 99_999

            other_pipe.release()
            writer = desk.wait_for_report("on the writer").worker
            assert desk.wait_for_report("large").worker == writer
            assert desk.wait_for_report("read").worker != writer

    def test_a_share_is_mapped_once_per_process_and_forgotten_with_its_ref(
        self, folders: Callable[[], list[str]]
    ) -> None:
        with opened(ProcessTaskRunner(max_workers=1)) as desk:
            share = desk.session.share("key", b"payload" * 1_000)
            for number in range(3):
                counted = desk.run(chunks.Shared(id=str(number)), shared=[share, share])
                assert counted.split(b" ", 1)[0] == b"1"

            del share

            assert desk.run(chunks.Shared(id="last")) == b"0"
            assert not [name for name in folders() if name.startswith("shared")]

    def test_files_go_with_their_refs(self, folders: Callable[[], list[str]]) -> None:
        with opened(ProcessTaskRunner(max_workers=1)) as desk:
            empty = folders()
            kept = desk.submit(chunks.Large(id="kept", size=100_000))
            dropped = desk.submit(chunks.Large(id="dropped", size=100_000))
            desk.session.fetch([kept, dropped], DEADLINE_S)
            assert len(folders()) == len(empty) + 2

            del dropped
            gc.collect()
            assert len(folders()) == len(empty) + 1

            desk.submit(chunks.Large(id="nobody's", size=100_000))
            desk.wait_for_report("nobody's")
            desk.run(Chunk(id="large", label="x" * 200_000))
            desk.submit(chunks.Killed(id="killed", label="x" * 200_000))
            desk.wait_for_report("killed")
            gc.collect()
            assert len(folders()) == len(empty) + 1
            assert desk.session.fetch([kept]) == [[b"x" * 100_000]]

    def test_views_outlive_their_ref_and_the_session(self) -> None:
        with opened(ProcessTaskRunner(max_workers=1)) as desk:
            ((view,),) = desk.session.fetch(
                [desk.submit(chunks.Large(id="large", size=100_000))], DEADLINE_S
            )

        assert view == b"x" * 100_000

    def test_values_whose_files_are_gone_are_lost(
        self, folders: Callable[[], list[str]], tmp_path: Path
    ) -> None:
        with opened(ProcessTaskRunner(max_workers=1)) as desk:
            before = set(tmp_path.rglob("*"))
            ref = desk.submit(chunks.Large(id="large", size=100_000))
            desk.session.fetch([ref], DEADLINE_S)
            for path in set(tmp_path.rglob("*")) - before:
                path.unlink()

            with pytest.raises(ValuesLost) as lost:
                desk.session.fetch([desk.submit(Chunk(id="there")), ref], DEADLINE_S)
            assert lost.value.lost == (1,)
            desk.submit(Chunk(id="dependent"), [ref])
            assert isinstance(desk.wait_for_report("dependent").error, ValuesLost)

    def test_closing_leaves_no_process_and_no_file(
        self, folders: Callable[[], list[str]], tmp_path: Path
    ) -> None:
        with opened(ProcessTaskRunner(max_workers=2)) as desk:
            worker, server = processes_of(desk)
            ref = desk.submit(chunks.Large(id="large", size=100_000))
            desk.session.fetch([ref], DEADLINE_S)
            desk.submit(chunks.UntilStopped(id="running"))
            desk.wait_for_start("running")
            assert is_there(worker)
            assert is_there(server)

        assert isinstance(desk.wait_for_report("running").error, ChunkCancelled)
        assert not is_there(worker)
        assert not is_there(server)
        assert list((tmp_path / "memory").iterdir()) == []
        assert list((tmp_path / "disk").iterdir()) == []
        with pytest.raises(ValuesLost):
            desk.session.fetch([ref])
        with pytest.raises(SessionClosed):
            desk.session.share("late", b"")

    @pytest.mark.parametrize(
        ("chunk", "dies"),
        [
            (chunks.Sleeping(id="unwanted"), False),
            (chunks.Computing(id="unwanted"), False),
            (chunks.Stubborn(id="unwanted"), True),
            (chunks.InC(id="unwanted", holds_gil=True), True),
            (chunks.InC(id="unwanted", holds_gil=False), True),
        ],
        ids=["sleeping", "computing", "stubborn", "holds-gil", "releases-gil"],
    )
    def test_an_interrupt_ends_what_runs_in_two_seconds(self, chunk: Chunk, dies: bool) -> None:
        with opened(ProcessTaskRunner(max_workers=1)) as desk:
            worker, _ = processes_of(desk)
            ref = desk.submit(chunk)
            desk.wait_for_word("unwanted", b"there")

            began = time.monotonic()
            desk.session.cancel([ref], interrupt=True)
            desk.session.cancel([ref], interrupt=True)
            report = desk.wait_for_report("unwanted")
            took_s = time.monotonic() - began

            assert took_s < 2.0
            if isinstance(chunk, chunks.Sleeping):
                assert desk.session.fetch([ref]) == [[b"The chunk was cancelled."]]
            else:
                assert isinstance(report.error, ChunkCancelled)
                assert report.started
            assert desk.run(Chunk(id="next")) == b"next"
            assert (processes_of(desk)[0] != worker) == dies
            assert [one.chunk for one in desk.reports].count("unwanted") == 1

    def test_an_interrupt_ends_its_own_chunk_alone(self, pipe: Pipe) -> None:
        with opened(ProcessTaskRunner(max_workers=2)) as desk:
            mate = desk.submit(chunks.Blocked(id="mate", pipe=pipe.path))
            refs = [desk.submit(chunks.Sleeping(id="unwanted")), desk.submit(Chunk(id="pending"))]
            desk.wait_for_start("mate")
            desk.wait_for_word("unwanted", b"there")

            desk.session.cancel(refs, interrupt=True)
            desk.wait_for_report("unwanted")
            # What is over is left alone, and so is what the same worker runs next.
            desk.session.cancel(refs, interrupt=True)

            assert desk.run(chunks.Stopping(id="next")) == b"False"
            assert isinstance(desk.wait_for_report("pending").error, ChunkCancelled)
            pipe.release()
            assert desk.session.fetch([mate], DEADLINE_S) == [[b""]]

    def test_work_that_was_asked_to_stop_can_be_interrupted_later(self) -> None:
        with opened(ProcessTaskRunner(max_workers=1)) as desk:
            ref = desk.submit(chunks.Sleeping(id="unwanted"))
            desk.wait_for_word("unwanted", b"there")

            desk.session.cancel([ref])
            desk.session.cancel([ref], interrupt=True)

            assert desk.session.fetch([ref], DEADLINE_S) == [[b"The chunk was cancelled."]]

    def test_interrupts_from_the_terminal_are_for_the_driver(self) -> None:
        with opened(ProcessTaskRunner(max_workers=1)) as desk:
            before = processes_of(desk)

            assert desk.run(chunks.Interrupted(id="interrupted")) == b"alive"
            assert processes_of(desk) == before

    def test_100_mb_are_written_without_a_copy(self) -> None:
        size = 100_000_000
        with opened(ProcessTaskRunner(max_workers=1)) as desk:
            before = int(desk.run(chunks.Peak(id="before")))
            ref = desk.submit(chunks.Large(id="large", size=size))
            ((view,),) = desk.session.fetch([ref], DEADLINE_S)
            after = int(desk.run(chunks.Peak(id="after")))

            assert view.nbytes == size
            assert view[size - 1] == ord("x")
            assert after - before < 1.5 * size

    def test_parcels_go_to_disk_where_memory_is_short(
        self, folders: Callable[[], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        half_full = SimpleNamespace(f_bavail=51, f_blocks=100, f_frsize=1_000)
        with opened(ProcessTaskRunner(max_workers=1)) as desk:
            monkeypatch.setattr(os, "statvfs", lambda folder: half_full)

            shares = [desk.session.share(str(size), b"x" * size) for size in (999, 1_000)]

            assert len(shares) == 2
            assert list((tmp_path / "memory").rglob("shared-0"))
            assert list((tmp_path / "disk").rglob("shared-1"))

    def test_it_does_without_a_folder_in_memory(
        self, folders: Callable[[], list[str]], tmp_path: Path
    ) -> None:
        (tmp_path / "memory").rmdir()

        with opened(ProcessTaskRunner(max_workers=1)) as desk:
            assert desk.run(chunks.Large(id="large", size=100_000)) == b"x" * 100_000

    def test_a_chunk_that_was_never_read_is_told_from_one_that_ran(self) -> None:
        with opened(ProcessTaskRunner(max_workers=2)) as desk:
            worker, _ = processes_of(desk)
            os.kill(worker, signal.SIGSTOP)
            # The worker that was busy last is the first to be asked.
            desk.submit(Chunk(id="unread"))
            desk.run(Chunk(id="behind it"))

            os.kill(worker, signal.SIGKILL)

            report = desk.wait_for_report("unread")
            assert isinstance(report.error, WorkerLost)
            assert not report.started
            assert str(report.error).endswith(f"{KILLED} before it ran chunk unread.")

    def test_workers_that_can_not_start_are_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "fatal_to_forks.py").write_text(
            "import os\nos.register_at_fork(after_in_child=lambda: os._exit(9))\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        with opened(ProcessTaskRunner(max_workers=2, preload=("fatal_to_forks",))) as desk:
            for name in ("one", "two"):
                desk.submit(Chunk(id=name))
                error = desk.wait_for_report(name).error
                assert isinstance(error, ResourcesUnavailable)
                assert "it ended with exit code 9 before it could take a chunk" in str(error)

    def test_what_is_printed_is_there_before_the_report(
        self, capfd: pytest.CaptureFixture[str]
    ) -> None:
        with opened(ProcessTaskRunner(max_workers=1)) as desk:
            assert desk.run(chunks.Printing(id="one")) == b""

            assert capfd.readouterr().out == "printed by one\n"

    def test_what_does_not_pickle_is_told(self) -> None:
        with opened(ProcessTaskRunner(max_workers=1)) as desk:
            desk.submit(chunks.Unread(id="unread"))
            error = desk.wait_for_report("unread").error
            assert type(error) is InfrastructureError
            assert "LookupError: not here" in str(error)

            assert desk.run(Chunk(id="next")) == b"next"

    def test_a_module_that_can_not_be_preloaded_is_told(
        self, capfd: pytest.CaptureFixture[str]
    ) -> None:
        with opened(ProcessTaskRunner(max_workers=1, preload=("no_such_module",))) as desk:
            desk.submit(Chunk(id="one"))
            report = desk.wait_for_report("one")

        assert isinstance(report.error, ResourcesUnavailable)
        assert not report.started
        assert "fork server ended with exit code 1 before it was ready" in str(report.error)
        assert "no_such_module" in capfd.readouterr().err

    def test_workers_find_modules_of_folders_added_later(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with opened(ProcessTaskRunner(max_workers=1)) as desk:
            (tmp_path / "added_later.py").write_text(
                "from tests.unit.adapters.local_chunks import Chunk\n"
                "class Added(Chunk):\n    __slots__ = ()\n"
            )
            monkeypatch.syspath_prepend(tmp_path)
            added = __import__("added_later")

            assert desk.run(added.Added(id="added")) == b"added"

    def test_windows_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "platform", "win32")

        with pytest.raises(InfrastructureError, match="use ThreadPoolTaskRunner"):
            ProcessTaskRunner().open(lambda chunk, message: None)
