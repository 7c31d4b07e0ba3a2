"""Where the keys come from that sign results: the setting, or a file in the home.

A key is 32 bytes or more, written in hex: `openssl rand -hex 32` makes one. The setting
`results.signing_keys` names each as `ID=env:VARIABLE`, `ID=file:PATH` or `ID=HEX`; the first signs,
all are believed, so a new one goes in front and the old ones stay for as long as what they signed.
Without the setting a key is made once, in a file of the home that only its owner can read. Whoever
shares results on storage with others gives all drivers the same keys.

Keys are read where a driver looks up or commits, never on workers for others. Whatever hex they
are written in is masked from then on.
"""

import logging
import os
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from secrets import token_hex

from blake3 import blake3

from fanfold.engine import settings
from fanfold.engine.context import current
from fanfold.engine.results.keyring import KEY_BYTES, Keyring
from fanfold.ports.results import ResultStore
from fanfold.values.errors import UsageError
from fanfold.values.secrets import KNOWN

KEY_FILE = "results.key"

logger = logging.getLogger("fanfold.results")


def keyring_of(store: ResultStore) -> Keyring | None:
    """Return the keys for what lies in a store; None if nobody else can write there.

    Raises:
        UsageError: A key can't be read or made, or there is none on a worker.
        StoreError: The store can't be asked.
    """
    if store.private:
        return None
    named = settings.current().results_signing_keys
    return _named(named) if named else _at_home(settings.home() / KEY_FILE)


def on_worker() -> bool:
    """Return whether this code runs inside a task in another process than the driver's.

    No key is made there: it would be one that nobody else has.
    """
    around = current()
    return around is not None and around.send is not None


def _named(named: tuple[str, ...]) -> Keyring:
    keys: list[tuple[str, bytes]] = []
    for reference in named:
        name, _, source = reference.partition("=")
        try:
            keys.append((name, _key(_written(source))))
        except (ValueError, OSError, KeyError) as error:
            where = source if source.startswith(("env:", "file:")) else "its hex digits"
            raise UsageError(
                f"The key {name} of results.signing_keys can't be had from {where}: "
                f"{_reason(error)}. Make one with `openssl rand -hex 32`."
            ) from None  # for the cause may tell the key
    try:
        return _keyring(tuple(keys))
    except ValueError as error:
        raise UsageError(f"results.signing_keys: {error}.") from None


def _written(source: str) -> str:
    """Return what is written where a reference leads."""
    kind, colon, place = source.partition(":")
    if not colon:
        return source
    return os.environ[place] if kind == "env" else Path(place).read_text("ascii")


def _key(text: str) -> bytes:
    text = text.strip()
    if len(text) >= 8:
        KNOWN.add(text)
    try:
        key = bytes.fromhex(text)
    except ValueError:
        raise ValueError("it isn't in hex digits") from None
    if len(key) < KEY_BYTES:
        raise ValueError(f"it has {len(key)} bytes, not {KEY_BYTES} or more")
    return key


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return "there is no such variable"
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else str(error)


def _at_home(path: Path) -> Keyring:
    try:
        text = _read(path)
    except FileNotFoundError:
        if on_worker():
            raise UsageError(
                "There is no key here to sign results with. Give workers whose tasks keep results "
                "themselves the same results.signing_keys as the driver."
            ) from None
        text = _made(path)
    except OSError as error:
        raise UsageError(_unusable(path, _reason(error))) from None
    try:
        key = _key(text)
    except ValueError as error:
        raise UsageError(_unusable(path, str(error))) from None
    return _keyring(((blake3(key).hexdigest(4), key),))


def _unusable(path: Path, reason: str) -> str:
    return (
        f"The key in {path}, which signs results, can't be used: {reason}. Restore it from a copy, "
        "name another with results.signing_keys, or remove it: then what it signed is made again."
    )


def _read(path: Path) -> str:
    with path.open(encoding="ascii", errors="replace") as file:
        if os.name != "nt" and os.fstat(file.fileno()).st_mode & 0o077:
            _tell_open(path)
        return file.read()


@lru_cache
def _tell_open(path: Path) -> None:
    logger.warning("Others may read %s, which signs results. Run: chmod 600 %s", path, path)


def _made(path: Path) -> str:
    """Make the key unless somebody else does at the same time; return the one that is there.

    Raises:
        UsageError: The home can't be written.
    """
    text = token_hex(KEY_BYTES)
    temporary = path.with_name(f".{path.name}-{token_hex(8)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(temporary, text + "\n")
        try:
            with suppress(FileExistsError):
                os.link(temporary, path)
        finally:
            temporary.unlink()
        _synchronise(path.parent)
        return _read(path)
    except OSError as error:
        raise UsageError(
            f"The key that signs results can't be made in {path}: {_reason(error)}. Name one with "
            "results.signing_keys, such as main=env:RESULTS_KEY."
        ) from None


def _write(path: Path, text: str) -> None:
    """Make a durable file that only its owner can read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _synchronise(folder: Path) -> None:
    """Make the folder's entries durable, where a folder can be opened for that."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@lru_cache(maxsize=16)
def _keyring(keys: tuple[tuple[str, bytes], ...]) -> Keyring:
    return Keyring(keys)
