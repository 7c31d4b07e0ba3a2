"""Addresses of Rays: what people may see of them, and whether anything answers there.

`masked` is what every text goes through that leaves this package and may hold an address.
"""

import logging
import re
import socket
import time
from collections.abc import Mapping
from functools import cache
from ipaddress import ip_address
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from fanfold.values.secrets import COVER, KNOWN, untold

logger = logging.getLogger("fanfold.runners")

CLIENT = "ray://"
"""Begins an address of a client server, through which Ray is used from afar."""

_MASKS = (
    # Up to the last @ of a word, for passwords hold what they shouldn't.
    (re.compile(r"://[^\s'\"<>]*@"), f"://{COVER}@"),
    (re.compile(r"(://[^\s'\"<>?#]*[?#])[^\s'\"<>)]+"), rf"\g<1>{COVER}"),
    # Ray takes addresses without a scheme too.
    (re.compile(r"(?<![\w/*])[\w.%+-]+:[^\s/@'\"]+@(?=[\w\[])"), f"{COVER}@"),
)
_SECRET_NAME = re.compile(r"pass(word|wd|phrase)?$|secret|token|credential|auth|key", re.IGNORECASE)
_ENVIRONMENTS = frozenset({"env_vars"})
"""Names of mappings whose values are for workers alone."""


class Place(NamedTuple):
    """Where something listens."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def place(address: str) -> Place | None:
    """Return host and port of an address, with or without a scheme; None if it isn't of that form.

    For `ray://` without a port it is Ray's usual one.
    """
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        port = parts.port or (10001 if address.startswith(CLIENT) else None)
        return Place(parts.hostname, port) if parts.hostname and port else None
    except ValueError:
        return None


def answers(where: Place, timeout_s: float, *, again: bool = True) -> str:
    """Return why nothing takes connections there, empty if something does; blocks.

    Args:
        where: What is asked.
        timeout_s: How long at most.
        again: Whether to ask again after a refusal: what was just started may not listen yet.
    """
    ends = time.monotonic() + timeout_s
    while True:
        left = ends - time.monotonic()
        try:
            socket.create_connection(where, timeout=max(left, 0.1)).close()
            return ""
        except ConnectionRefusedError as error:
            if not again or left < 0.5:
                return error.strerror or "refused"
            time.sleep(0.2)
        except OSError as error:
            return error.strerror or "timed out"


def masked(text: object) -> str:
    """Return a text without what stands before an @ or after a ? or # in its addresses."""
    shown = str(text)
    if "@" in shown or "://" in shown:
        for pattern, cover in _MASKS:
            shown = pattern.sub(cover, shown)
    return shown


def bare(address: str) -> str:
    """Return an address without user and password, which no part of Ray asks for."""
    scheme, separator, rest = address.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def harmless(error: BaseException) -> BaseException | None:
    """Return an error to chain another to, unless it or what led to it tells credentials."""
    return untold(error, masked)


def shown(value: Any, name: str = "") -> str:
    """Return how an argument is shown: without credentials in it, whatever they are called."""
    if _SECRET_NAME.search(name) and isinstance(value, (str, bytes)):
        return repr(COVER)
    if isinstance(value, Mapping):
        hidden = name in _ENVIRONMENTS
        pairs = (
            f"{key!r}: {repr(COVER) if hidden else shown(each, str(key))}"
            for key, each in value.items()
        )
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(shown(each, name) for each in value)}]"
    return masked(repr(value))


def remember(address: str | None) -> None:
    """Have Fanfold mask an address's credentials wherever it records and shows something."""
    if not address:
        return
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        secrets = (parts.password, *(each for _, each in parse_qsl(parts.query)))
    except ValueError:
        return  # no address; whoever connects is told so
    for secret in secrets:
        if secret:
            KNOWN.add(secret)


@cache
def warn_exposed(address: str) -> None:
    """Log, once per process and address, that anybody who reaches it may run code there."""
    logger.warning(
        "Whoever reaches %s over the network can run code on this Ray, for it asks for no token. "
        "Start it with RAY_AUTH_MODE=token and set the same here, with its token in "
        "~/.ray/auth_token or in a file that RAY_AUTH_TOKEN_PATH names; or let nobody else reach "
        "its ports, by a firewall or an SSH tunnel.",
        masked(address),
    )
