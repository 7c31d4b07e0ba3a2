"""Addresses of schedulers as people may see them: without credentials, and with a word of warning.

`masked` is what every text goes through that leaves this package and may hold an address.
"""

import logging
import re
from collections.abc import Mapping
from functools import cache
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from fanfold.values.secrets import COVER, KNOWN, untold

logger = logging.getLogger("fanfold.runners")

_MASKS = (
    # Up to the last @ of a word, for passwords hold what they shouldn't.
    (re.compile(r"://[^\s'\"<>]*@"), f"://{COVER}@"),
    (re.compile(r"(://[^\s'\"<>?#]*[?#])[^\s'\"<>)]+"), rf"\g<1>{COVER}"),
    # Dask takes addresses without a scheme too, and its errors may leave it out.
    (re.compile(r"(?<![\w/*])[\w.%+-]+:[^\s/@'\"]+@(?=[\w\[])"), f"{COVER}@"),
    (re.compile(r"(?<=[?&])[\w.%-]+=[^\s'\"<>)]+"), COVER),
)
_SECRET = re.compile(
    r"pass(word|wd|phrase)?$|secret|token|credential|auth|key|sig(n|nature)?$", re.IGNORECASE
)
"""What a name has in it whose value nobody should read."""
_OPEN_SCHEMES = frozenset({"tcp", "ws", "ucx", "ucxx"})
"""Without certificates."""


def masked(text: object) -> str:
    """Return a text without the credentials in it: in its addresses, and those seen before."""
    shown = str(text)
    for low, high in sorted(KNOWN.spans(shown), reverse=True):
        shown = shown[:low] + COVER + shown[high:]
    if "@" in shown or "://" in shown or "=" in shown:
        for pattern, cover in _MASKS:
            shown = pattern.sub(cover, shown)
    return shown


def harmless(error: BaseException) -> BaseException | None:
    """Return an error to chain another to, unless it or what led to it tells credentials."""
    return untold(error, masked)


def shown(value: Any, name: str = "") -> str:
    """Return how an argument is shown: without credentials in it, whatever they are called."""
    if _SECRET.search(name) and isinstance(value, (str, bytes)):
        return repr(COVER)
    if isinstance(value, Mapping):
        pairs = (f"{key!r}: {shown(each, str(key))}" for key, each in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(shown(each, name) for each in value)}]"
    return masked(repr(value))


def remember(given: Any) -> None:
    """Have the credentials in an argument's addresses masked wherever something is shown.

    For what fails because of an address may tell any piece of it.
    """
    if isinstance(given, Mapping):
        given = tuple(given.values())
    if isinstance(given, (list, tuple)):
        for each in given:
            remember(each)
    elif isinstance(given, str) and ("@" in given or "?" in given):
        try:
            parts = urlsplit(given if "://" in given else f"tcp://{given}")
            queried = parse_qsl(parts.query)
            secrets = (parts.password, *(each for name, each in queried if _SECRET.search(name)))
        except ValueError:
            return  # no address; whoever connects is told so
        for secret in secrets:
            if secret:
                KNOWN.add(secret)


def host(address: str) -> str:
    """Return the host in an address; empty if it has none, as within one process."""
    scheme, separator, rest = address.partition("://")
    try:
        named = urlsplit(f"//{rest if separator else address}").hostname
    except ValueError:
        return ""
    return "" if scheme == "inproc" else named or ""


def exposed(address: str) -> bool:
    """Return whether anybody on the network may reach it, and run code there unasked."""
    scheme, separator, _ = address.partition("://")
    name = host(address)
    if name in ("", "localhost") or (separator and scheme not in _OPEN_SCHEMES):
        return False
    try:
        return not ip_address(name).is_loopback
    except ValueError:
        return True  # a name


@cache
def warn_if_exposed(address: str) -> None:
    """Log a warning, once per process and address, if anybody may run code there."""
    if exposed(address):
        logger.warning(
            "Whoever reaches %s over the network can run code on this Dask cluster, for it asks "
            "for no certificates. Start it with TLS and give DaskTaskRunner its tls:// address and "
            "client_kwargs={'security': distributed.Security(...)}; or let nobody else reach its "
            "port, by a firewall or an SSH tunnel.",
            masked(address),
        )
