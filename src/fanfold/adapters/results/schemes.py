"""Which storages a URL may name, and what to install for those that need something."""

from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec

from fsspec.registry import available_protocols, known_implementations, registry

from fanfold.values.errors import UnknownStorage

_EXTRAS = {"s3": "fanfold[s3]", "s3a": "fanfold[s3]"}
_USUAL = ("file", "memory", "s3", "gs", "abfs", "sftp")


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
