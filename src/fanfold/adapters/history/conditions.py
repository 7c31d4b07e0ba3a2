"""What must hold for a row: expressions of SQL joined by `and`, with their parameters."""

from collections.abc import Collection
from typing import Any

from fanfold.adapters.history import columns
from fanfold.adapters.history.sessions import Dialect

LAST_LETTER = "\U0010ffff"


class Conditions:
    """Conditions of one question, gathered one after another."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._expressions: list[str] = []
        self.parameters: tuple[Any, ...] = ()

    def add(self, expression: str, *parameters: Any) -> None:
        """Add an expression with its parameters."""
        self._expressions.append(expression)
        self.parameters += columns.stored(parameters)

    def given(self, expression: str, value: Any) -> None:
        """Add an expression with one parameter, unless that is empty or None."""
        if value not in ("", None):
            self.add(expression, value)

    def among(self, column: str, values: Collection[Any]) -> None:
        """Add that a column has one of some values, if there are any."""
        if values:
            expression, parameters = self._dialect.among(column, values)
            self.add(expression, *parameters)

    def begins(self, column: str, prefix: str) -> None:
        """Add that a column begins with a text, unless that is empty; an index can serve it."""
        if prefix:
            self.add(f"{column} >= ? and {column} < ?", prefix, prefix + LAST_LETTER)

    def __str__(self) -> str:
        return f" where {' and '.join(self._expressions)}" if self._expressions else ""
