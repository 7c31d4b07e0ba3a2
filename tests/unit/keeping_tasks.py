"""Tasks whose calls are counted, and a look at what they have written."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fanfold import task
from fanfold.engine.results.segments import unpack_index


def counted(calls: list[Any], **options: Any) -> Any:
    """Return a task that notes its calls and returns a list."""

    @task(**options)
    def noted(x: Any) -> Any:
        calls.append(x)
        return ["result", x]

    return noted


def hooked(log: list[Any], name: str = "step", **options: Any) -> Any:
    """Return a task that notes when its hooks for commit and rollback are called."""

    @task(name=name, **options)
    def step(x: Any = None, fails: bool = False) -> Any:
        if fails:
            raise ValueError(f"{x} fails")
        return x

    step.on_commit(lambda txn: log.append((name, "commit")))
    step.on_rollback(lambda txn: log.append((name, "rollback")))
    return step


def named(folder: Path) -> list[str]:
    """Return the names of all objects that users have named."""
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(str(file) for file in files if file.parts[0] not in ("tasks", "flows"))


def payloads(folder: Path) -> Iterator[bytes]:
    """Return the content of all segments, and the values that indexes hold themselves."""
    for path in folder.glob("tasks/*/segments/*/*"):
        yield path.read_bytes()
    for path in indexes(folder):
        index = unpack_index(path.read_bytes(), str(path.relative_to(folder)), None)
        if index.payload:
            yield index.payload


def indexes(folder: Path) -> list[Path]:
    """Return all indexes."""
    return sorted(folder.glob("tasks/*/index/*"))
