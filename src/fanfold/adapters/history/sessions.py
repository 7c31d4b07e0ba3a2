"""What the shared statements need of a database: a session to run them in, and its dialect."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

Row = tuple[Any, ...]
Condition = tuple[str, tuple[Any, ...]]
"""An expression of SQL, and what stands for its question marks."""


class Session(Protocol):
    """A connection that nobody else uses meanwhile; parameters are written as question marks."""

    @property
    def dialect(self) -> "Dialect":
        """What is particular to this database."""
        ...

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Return all rows of an answer."""
        ...

    def run(self, statement: str, parameters: Sequence[Any] = ()) -> int:
        """Run a statement; return how many rows it changed."""
        ...

    def many(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run a statement with each of the rows."""
        ...

    def load(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Add rows that aren't there yet to a table, in the fastest way that there is."""
        ...


class Dialect(Protocol):
    """Where databases differ."""

    @property
    def name(self) -> str:
        """As migrations name it."""
        ...

    @property
    def types(self) -> Mapping[str, str]:
        """What stands for `{text}` and so on in migrations."""
        ...

    @property
    def locking(self) -> str:
        """Ends a `select` that keeps others from changing its rows until this one is done."""
        ...

    @property
    def skipping(self) -> str:
        """The same, leaving out rows that others have locked."""
        ...

    def among(self, column: str, values: Collection[Any]) -> Condition:
        """Return the condition that a column has one of these values."""
        ...

    def contains(self, column: str) -> str:
        """Return the condition that a column of text contains the parameter."""
        ...

    def saying(self, words: Sequence[str], within: Condition | None = None) -> Condition:
        """Return the condition that a line says words next to each other, the last one begun.

        Args:
            words: As `rules.words` makes them.
            within: What its number, called `rowid` or `id` as `numbered` says, must fulfil as well.
        """
        ...

    @property
    def numbered(self) -> str:
        """How `saying` calls the number of a line."""
        ...

    def has_table(self, session: Session, table: str) -> bool:
        """Return whether a table is there."""
        ...

    def count(self, session: Session, table: str) -> int:
        """Return how many rows a table has, or about so many if it is large."""
        ...

    def write_lines(self, session: Session, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Add lines of logs and their words; the message is the last column."""
        ...

    def forget_lines(self, session: Session, numbers: Sequence[int]) -> None:
        """Remove lines and their words."""
        ...

    def alone(self, session: Session, name: str) -> None:
        """Keep others out of what has this name, until the transaction ends."""
        ...
