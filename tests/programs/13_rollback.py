"""If a transaction fails, the tasks in it that had succeeded are taken back, the last one first."""

from pathlib import Path
from tempfile import TemporaryDirectory

from fanfold import flow, task
from fanfold.transactions import get_transaction, transaction

undone: list[str] = []


@task
def write(folder: Path, name: str, lines: int) -> Path:
    txn = get_transaction()
    if txn is not None:
        txn.set("path", folder / name)
    (folder / name).write_text("line\n" * lines)
    return folder / name


@write.on_rollback
def remove(txn) -> None:
    path = txn.get("path")
    undone.append(path.name)
    path.unlink()


@task
def check(path: Path, least: int) -> int:
    found = len(path.read_text().splitlines())
    if found < least:
        raise ValueError(f"{path.name} has {found} lines")
    return found


@check.on_rollback
def unchecked(txn) -> None:
    undone.append("check " + txn.get("purpose"))


@flow
def publish(folder: Path, lines: int):
    with transaction() as txn:
        txn.set("purpose", "before printing")
        cover = write(folder, "cover.txt", 5)
        check(cover, 2)
        body = write(folder, "body.txt", lines)
        return check(body, 3)


@flow
def alone(folder: Path):
    """Outside of a transaction what a task did stays, whatever fails after it."""
    path = write(folder, "note.txt", 1)
    check(path, 3)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


if __name__ == "__main__":
    with TemporaryDirectory() as place:
        folder = Path(place)
        try:
            publish(folder, lines=2)
        except ValueError as error:
            print("failed:", error)
        print(undone, names(folder))
        assert undone == ["body.txt", "check before printing", "cover.txt"]
        assert names(folder) == []

        undone.clear()
        print(publish(folder, lines=3), undone, names(folder))
        assert names(folder) == ["body.txt", "cover.txt"] and not undone

        state = alone(folder, return_state=True)
        print(state.name, undone, "note.txt" in names(folder))
        assert state.is_failed() and not undone
