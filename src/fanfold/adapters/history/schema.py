"""The tables of a history in a database: numbered migrations, and which of them are missing.

`migrations/NNNN_name.sql` serves all databases. A type that they name differently stands there as
`{text}`, `{blob}` or `{serial}`; after a line `-- only DATABASE` come statements for that one.
Statements end with a semicolon at the end of a line. A migration that was shipped never changes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fanfold.adapters.history.sessions import Session
from fanfold.values.errors import HistoryTooNew
from fanfold.values.facts import now_us

TABLE = "fanfold_migrations"
"""Which were applied; named so that nobody else's is taken for it in a database that is shared."""
_ONLY = "-- only "


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """A step from one version of the tables to the next."""

    number: int
    """From 1, without gaps."""
    text: str


@cache
def migrations() -> tuple[Migration, ...]:
    """Return all migrations that this version of Fanfold knows, in their order."""
    # Not with importlib.resources, whose import takes longer than all else at a first use.
    files = sorted(Path(__file__).with_name("migrations").glob("*.sql"))
    return tuple(
        Migration(number=int(file.name.partition("_")[0]), text=file.read_text(encoding="utf-8"))
        for file in files
    )


def latest() -> int:
    """Return the number of the last migration."""
    return migrations()[-1].number


def statements(text: str, database: str, types: Mapping[str, str]) -> list[str]:
    """Return the statements of a migration for one database.

    Args:
        text: The migration.
        database: Its name as `-- only` lines have it.
        types: What stands for `{text}` and so on.
    """
    kept: list[str] = []
    wanted = True
    for line in text.splitlines():
        if line.startswith(_ONLY):
            wanted = line.removeprefix(_ONLY).strip() == database
        elif wanted and not line.startswith("--"):
            kept.append(line)
    for name, type_ in types.items():
        kept = [line.replace("{" + name + "}", type_) for line in kept]
    return [s.strip() for s in "\n".join([*kept, ""]).split(";\n") if s.strip()]


def applied(session: Session) -> int:
    """Return the number of the last migration that was applied, 0 for an empty database."""
    if not session.dialect.has_table(session, TABLE):
        return 0
    return session.rows(f"select coalesce(max(number), 0) from {TABLE}")[0][0]


def check(place: str, found: int) -> None:
    """Refuse tables that a newer version of Fanfold made.

    Raises:
        HistoryTooNew: They are newer.
    """
    if found > latest():
        raise HistoryTooNew(place, found, latest())


def apply(session: Session, place: str) -> list[int]:
    """Apply what is missing; return the numbers.

    Args:
        session: A transaction that no other process can hold at the same time.
        place: Of the history, for the error.

    Raises:
        HistoryTooNew: A newer version of Fanfold made the tables; nothing was touched.
    """
    found = applied(session)
    check(place, found)
    if not found:
        session.run(
            f"create table {TABLE} (number integer primary key, applied_us bigint not null)"
        )
    missing = [migration for migration in migrations() if migration.number > found]
    dialect = session.dialect
    for migration in missing:
        for statement in statements(migration.text, dialect.name, dialect.types):
            session.run(statement)
        session.run(f"insert into {TABLE} values (?, ?)", (migration.number, now_us()))
    return [migration.number for migration in missing]
