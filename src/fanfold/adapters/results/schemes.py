"""Which storages a URL may name, and what to install for those that need something."""

import re
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec

from fsspec.registry import available_protocols, known_implementations, registry

from fanfold.values.errors import UnknownStorage, UsageError

_EXTRAS = {"s3": "fanfold[s3]", "s3a": "fanfold[s3]"}
_BUCKETS = frozenset({"s3", "s3a", "gs", "gcs"})
_ONE_SLASH = re.compile(r"(?!file:|local:)([a-z][a-z0-9+.-]+):/(?!/)(.*)", re.DOTALL)
"""One letter is a drive of Windows, and a file's URL may have one slash."""
_USUAL = ("file", "memory", "s3", "gs", "abfs", "sftp")


def check_spelling(url: str) -> None:
    """See that a URL isn't taken for a folder by a slip, and names a bucket where there are any.

    Raises:
        UsageError: It is misspelt; says how to write it.
    """
    slip = _ONE_SLASH.fullmatch(url)
    if slip is not None:
        scheme, rest = slip.groups()
        raise UsageError(
            f"Results can't be kept at {scheme}:/ with one slash. Did you mean "
            f"{scheme}://{rest.rpartition('@')[2]}? A folder of such a name is written with ./ "
            "before it."
        )
    for link in url.split("::"):
        scheme, separator, rest = link.partition("://")
        if separator and scheme in _BUCKETS and not rest.partition("/")[0]:
            raise UsageError(
                f"Results at {link} have no bucket to be kept in: name one, as in "
                f"{scheme}://my-bucket/results."
            )


def check(url: str) -> None:
    """See that what a URL names is known and installed; loads nothing.

    Raises:
        UnknownStorage: It isn't; says what is known, or what to install.
    """
    for link in url.split("::"):
        scheme = link.partition("://")[0]
        if "/" not in scheme:
            _check_scheme(scheme)


def advice(url: str) -> str:
    """Return what to install for a URL, as a sentence; empty where nothing is known of it."""
    schemes = [link.partition("://")[0] for link in url.split("::")]
    return " ".join(told for scheme in schemes if (told := _advice(scheme)))


def _advice(scheme: str) -> str:
    if scheme in _EXTRAS:
        return f"Install what it needs with: pip install '{_EXTRAS[scheme]}'."
    return str(known_implementations.get(scheme, {}).get("err", ""))


@cache
def _check_scheme(scheme: str) -> None:
    if scheme in registry:
        return
    known = known_implementations.get(scheme)
    if known is None:
        near = get_close_matches(scheme, available_protocols(), n=3) or _USUAL
        raise UnknownStorage(
            f"There is no storage {scheme}:// for results. Did you mean "
            f"{', '.join(f'{name}://' for name in near)}? A folder needs no scheme."
        )
    module = known["class"].partition(".")[0]
    if find_spec(module) is None:
        raise UnknownStorage(
            f"Results at {scheme}:// need {module}, which isn't installed here. {_advice(scheme)}"
        )
