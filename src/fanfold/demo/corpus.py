"""The demo's corpus: each docstring of Python's standard library, in a text file of its own.

The sources are parsed, never imported: nothing of them runs. The corpus folder's name holds a
digest of those sources, for a task's cache key is made from its arguments alone: a path that stayed
equal while the files behind it changed would bring results of yesterday's files.
"""

import ast
import hashlib
import platform
import re
import shutil
import sysconfig
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

FEWEST_WORDS = 6
"""Shorter docstrings ("See base class.") say too little to learn from or to be searched for."""

LAYOUT = "1"
"""Part of the digest: change it with whatever makes other files or vectors of equal sources."""

_INSTALLED = frozenset({"__pycache__", "dist-packages", "site-packages"})
_TESTS = frozenset({"idle_test", "test", "tests"})
_NO_LIBRARY = frozenset(
    {"distutils", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "turtledemo"}
)
_SKIPPED = _INSTALLED | _TESTS | _NO_LIBRARY
"""Folders that hold nothing to learn from; some are gone from newer Pythons."""
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_UNSAFE = re.compile(r"[^\w.\-]")
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)", re.IGNORECASE)
_LONGEST_NAME_BYTES = 120
"""Well under the 255 bytes of common file systems; some count the folders above as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Docstring:
    """The documentation of one module, class or function."""

    module: str
    """Dotted, such as `email.utils`."""
    qualname: str
    """Dotted, such as `Message.get_all`; `__doc__` for the module itself."""
    text: str


def words(text: str) -> list[str]:
    """Return the lower-case words of a text; `maxRetry_count` is three."""
    return [word.lower() for word in _WORD.findall(text)]


def standard_library() -> Path:
    """Return the folder of the running Python's standard library."""
    return Path(sysconfig.get_paths()["stdlib"])


def source_files(root: Path) -> list[Path]:
    """Return the Python files below a folder, sorted, without tests and installed packages."""
    return sorted(
        path
        for path in root.rglob("*.py")
        if not _SKIPPED.intersection(path.relative_to(root).parts)
    )


def docstrings(source: bytes, module: str) -> Iterator[Docstring]:
    """Yield the docstrings of a module's source that are long enough, from the top down.

    Raises:
        SyntaxError: It isn't Python of this version.
    """
    with warnings.catch_warnings():
        # Old sources hold escapes that newer versions warn of; they aren't ours to mend.
        warnings.simplefilter("ignore")
        tree = ast.parse(source)
    yield from _documented(tree, module, ())


def collect(root: Path) -> list[Docstring]:
    """Return all docstrings of a library, in an order that depends on its sources alone."""
    found: list[Docstring] = []
    for path in source_files(root):
        parts = path.relative_to(root).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        try:
            found.extend(docstrings(path.read_bytes(), module))
        except SyntaxError:
            # Some distributions ship samples of broken code; a demo can do without them.
            continue
    return found


def file_names(entries: Iterable[Docstring]) -> list[str]:
    """Return a relative path for each docstring, `module/qualname.txt`.

    All differ even where the file system ignores case, and none is too long or reserved. A name
    that is defined twice (a property and its setter) gets `~2`.
    """
    taken: set[str] = set()
    names: list[str] = []
    for entry in entries:
        folder, stem = _safe(entry.module), _safe(entry.qualname)
        name, copies = f"{folder}/{stem}.txt", 1
        while name.casefold() in taken:
            copies += 1
            name = f"{folder}/{stem}~{copies}.txt"
        taken.add(name.casefold())
        names.append(name)
    return names


def write_corpus(root: Path, home: Path) -> tuple[Path, bool]:
    """Write a library's docstrings below `home`, unless that was done before.

    The folder appears in one step when it is complete, so it may run twice at once.

    Returns:
        The folder, `docs-<python version>-<digest>`, and whether it was written now.

    Raises:
        FileNotFoundError: The library has no sources here (some Pythons ship it compiled).
    """
    files = source_files(root)
    if not files:
        raise FileNotFoundError(f"{root} holds no Python sources, so there is nothing to read")
    folder = home / f"docs-{platform.python_version()}-{_digest(root, files)}"
    if folder.is_dir():
        return folder, False
    home.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".docs-", dir=home))
    try:
        entries = collect(root)
        for entry, name in zip(entries, file_names(entries), strict=True):
            path = draft / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(entry.text, encoding="utf-8", errors="replace")
        try:
            draft.rename(folder)
        except OSError:
            # Somebody else was faster; anything else is a true error.
            if not folder.is_dir():
                raise
            return folder, False
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder, True


def document_paths(folder: Path) -> list[str]:
    """Return the paths of a corpus's files, sorted."""
    return sorted(str(path) for path in folder.glob("*/*.txt"))


def document_name(path: str) -> str:
    """Return what a corpus file documents, such as `email.utils/parsedate`."""
    return "/".join(Path(path).with_suffix("").parts[-2:])


def _documented(node: ast.AST, module: str, outer: tuple[str, ...]) -> Iterator[Docstring]:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        if not isinstance(node, ast.Module):
            outer = (*outer, node.name)
        text = ast.get_docstring(node) or ""
        if len(text.split()) >= FEWEST_WORDS:
            yield Docstring(module=module, qualname=".".join(outer) or "__doc__", text=text)
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt | ast.excepthandler | ast.match_case):
            yield from _documented(child, module, outer)


def _safe(name: str) -> str:
    """Return a name that every file system takes; names that had to be cut stay different."""
    safe = _UNSAFE.sub("_", name)
    if len(safe.encode()) > _LONGEST_NAME_BYTES:
        start = safe.encode()[: _LONGEST_NAME_BYTES - 13].decode(errors="ignore")
        safe = f"{start}-{hashlib.blake2b(name.encode(), digest_size=6).hexdigest()}"
    return f"_{safe}" if _RESERVED.match(safe) else safe


def _digest(root: Path, files: Iterable[Path]) -> str:
    digest = hashlib.blake2b(LAYOUT.encode(), digest_size=6)
    for path in files:
        source = path.read_bytes()
        digest.update(f"\0{path.relative_to(root).as_posix()}\0{len(source)}\0".encode())
        digest.update(source)
    return digest.hexdigest()
