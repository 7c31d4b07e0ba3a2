"""The corpus is the same on every run, and each docstring has a file that any file system takes."""

from pathlib import Path

from fanfold.demo.corpus import (
    Docstring,
    docstrings,
    document_name,
    document_paths,
    file_names,
    words,
    write_corpus,
)

SOURCE = b'''
"""A module that says what it is for."""
raise SystemExit("must not run")

class Parser:
    """Read text and return what it means."""

    @property
    def limit(self):
        """Return the largest number of bytes read."""

    @limit.setter
    def limit(self, value):
        """Set the largest number of bytes read."""

    def short(self):
        """Too short."""
'''


def library(root: Path) -> Path:
    (root / "email" / "test").mkdir(parents=True)
    (root / "email" / "__init__.py").write_bytes(SOURCE)
    (root / "email" / "test" / "cases.py").write_bytes(SOURCE)
    (root / "broken.py").write_bytes(b"def (")
    return root


def test_identifiers_are_split_at_underscores_and_at_capitals() -> None:
    found = words("HTTPServer.max_retryCount reads utf8, isn't it?")

    expected = "http server max retry count reads utf 8 isn t it"
    assert found == expected.split()


def test_docstrings_that_say_enough_are_found_without_running_the_module() -> None:
    names = [entry.qualname for entry in docstrings(SOURCE, "email")]

    assert names == ["__doc__", "Parser", "Parser.limit", "Parser.limit"]


def test_file_names_differ_even_where_case_is_ignored_and_are_never_too_long() -> None:
    qualnames = ["Run", "run", "RUN", "x" * 300, "x" * 301, "con", "<lambda>/..", "é" * 200]
    entries = [Docstring(module="m", qualname=name, text="") for name in qualnames]

    names = file_names(entries)

    assert len({name.casefold() for name in names}) == len(qualnames)
    assert names[:3] == ["m/Run.txt", "m/run~2.txt", "m/RUN~3.txt"]
    assert max(len(name.encode()) for name in names) < 140
    assert names[5] == "m/_con.txt"
    assert names[6].count("/") == 1


def test_a_corpus_is_written_once_and_renamed_when_a_source_changes(tmp_path: Path) -> None:
    root = library(tmp_path / "library")

    first, written = write_corpus(root, tmp_path / "home")
    again, written_again = write_corpus(root, tmp_path / "home")
    (root / "email" / "more.py").write_bytes(SOURCE)
    changed, _ = write_corpus(root, tmp_path / "home")

    assert (written, written_again) == (True, False)
    assert first == again != changed
    assert sorted(document_name(path) for path in document_paths(first)) == [
        "email/Parser",
        "email/Parser.limit",
        "email/Parser.limit~2",
        "email/__doc__",
    ]
    assert {path.name for path in (tmp_path / "home").iterdir()} == {first.name, changed.name}
