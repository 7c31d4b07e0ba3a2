"""The journal on the disk: what it took it gives back, whatever happens to the file."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold.engine.recording import spool
from fanfold.engine.recording.spool import FOLDER, Spool
from fanfold.values.facts import Batch
from tests.unit.engine.recording.making import line, made

URL = "postgresql://ada:secret@host/runs"
HOLDER = """
import sys
from pathlib import Path
from fanfold.engine.recording.spool import Spool
from fanfold.values.facts import Batch, LinesDropped
journal = Spool(Path(sys.argv[1]), sys.argv[2])
journal.append(Batch(writer="other", number=1, facts=(LinesDropped(flow_run_id="a", count=1),)))
print("held", flush=True)
sys.stdin.read()
"""


def batches(count: int) -> list[Batch]:
    return [
        Batch(writer="w", number=n, facts=(made("a"), line("a", f"line\n{n}")), epochs={"a": 2})
        for n in range(1, count + 1)
    ]


def written(folder: Path, count: int, url: str = URL) -> Path:
    """Return a journal that nobody holds any more."""
    journal = Spool(folder, url)
    for batch in batches(count):
        journal.append(batch)
    path = journal.path
    journal.close()
    assert path is not None
    return path


def all_of(journal: Spool) -> list[Batch]:
    found: list[Batch] = []
    while (batch := journal.first()) is not None:
        found.append(batch)
        journal.drop_first()
    return found


def test_batches_come_back_in_their_order(tmp_path: Path) -> None:
    journal = Spool(tmp_path / FOLDER, URL)
    for batch in batches(3):
        journal.append(batch)

    first = all_of(journal)
    journal.append(batches(4)[-1])
    then = all_of(journal)
    journal.close()

    assert first == batches(3)
    assert then == batches(4)[-1:]


def test_what_was_left_is_found_once_and_only_for_its_history(tmp_path: Path) -> None:
    written(tmp_path, 2)

    other = spool.found(tmp_path, URL + "2")
    (mine,) = spool.found(tmp_path, URL)
    again = spool.found(tmp_path, URL)
    read = all_of(mine)
    mine.remove()

    assert (other, again, read) == ([], [], batches(2))
    assert list(tmp_path.iterdir()) == []


def test_a_journal_that_a_living_process_holds_is_left_alone(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path), URL],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        while_it_lives = spool.found(tmp_path, URL)
        holder.kill()
    (journal,) = spool.found(tmp_path, URL)
    read = all_of(journal)
    journal.remove()

    assert while_it_lives == []
    assert [batch.writer for batch in read] == ["other"]


def test_only_its_owner_may_read_it_and_no_password_is_in_it(tmp_path: Path) -> None:
    path = written(tmp_path / FOLDER, 1)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert b"secret" not in path.read_bytes() and "secret" not in str(path)


@given(cut=st.integers(0, 1_400))
def test_what_is_cut_off_takes_nothing_before_it_along(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    path = written(folder, 4)
    whole = path.read_bytes()
    kept = whole[: min(cut, len(whole))]
    path.write_bytes(kept)

    (journal,) = spool.found(folder, URL)
    read = all_of(journal)
    journal.remove()

    assert read == batches(kept.count(b"\n"))


@given(at=st.integers(0, 1_400), flip=st.integers(1, 255))
def test_damage_is_never_taken_for_a_batch_and_harms_only_the_lines_it_touches(
    tmp_path_factory: pytest.TempPathFactory, at: int, flip: int
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    path = written(folder, 4)
    data = bytearray(path.read_bytes())
    at %= len(data)
    data[at] ^= flip
    touched = bytes(data[:at]).count(b"\n") + 1
    path.write_bytes(data)

    (journal,) = spool.found(folder, URL)
    read = all_of(journal)
    journal.remove()

    lost = {batch.number for batch in batches(4)} - {batch.number for batch in read}
    assert read == [batch for batch in batches(4) if batch.number not in lost]
    assert lost <= {touched, touched + 1}


def test_a_write_that_failed_half_way_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Spool(tmp_path, URL)
    first, second, third = batches(3)
    journal.append(first)
    real = os.write

    def full(file: int, data: memoryview) -> int:
        if len(data) < 100:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, data[:50])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space"):
            journal.append(second)
    journal.append(third)
    read = all_of(journal)
    journal.remove()

    assert read == [first, third]


def test_a_home_that_was_removed_is_not_made_anew(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    journal = Spool(home / FOLDER, URL)
    home.rmdir()

    with pytest.raises(OSError):
        journal.append(batches(1)[0])

    assert journal.gone
    assert not home.exists()
