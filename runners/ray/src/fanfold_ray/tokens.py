"""Ray's token authentication: it stays on, and no token is ever shown.

Ray switches it on for a cluster that it starts, writing the token to `~/.ray/auth_token`, and for
one of this machine that it finds by itself. For an address that was given it uses a token only
where RAY_AUTH_MODE=token says so, for whoever is there gets to see it.

A process that uses a token hears nobody without one. Where the cluster has none, all goes well
until something is lost, and then its workers wait for this process forever.
"""

import logging
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray import _raylet
from ray._private.authentication import authentication_token_setup

_raylet_names: Any = _raylet

REFUSED = (
    "it asks for a token that this process doesn't have, or another one. Copy the file "
    "~/.ray/auth_token of whoever started that Ray, or name its copy in RAY_AUTH_TOKEN_PATH, and "
    "set RAY_AUTH_MODE=token before Python starts"
)
"""What to do about an error of authentication."""


_MODE = "RAY_AUTH_MODE"


def mode() -> str | None:
    """Return what the environment says about tokens, for `restore`."""
    return os.environ.get(_MODE)


def restore(mode: str | None) -> None:
    """Undo that Ray, or `use_if_there`, has switched tokens on for all Rays of this process."""
    if mode == os.environ.get(_MODE):
        return
    if mode is None:
        del os.environ[_MODE]
    else:
        os.environ[_MODE] = mode
    # Ray has read its environment once.
    _raylet_names.Config.initialize("")


def asked() -> bool:
    """Return whether this process talks to Ray with a token."""
    mode = _raylet_names.get_authentication_mode()
    return bool(mode == _raylet_names.AuthenticationMode.TOKEN)


def use_if_there() -> bool:
    """Use a token that is there, unless somebody has decided on that; return whether that's new."""
    if _MODE in os.environ:
        return False
    logger = logging.getLogger(authentication_token_setup.__name__)
    before, logger.disabled = logger.disabled, True
    try:
        return authentication_token_setup.maybe_enable_token_auth_if_token_available(
            warn_if_disabled=False
        )
    finally:
        logger.disabled = before


@contextmanager
def kept_private() -> Generator[None]:
    """Let nobody else read the token that Ray writes meanwhile; it leaves that to the umask."""
    written = Path.home() / ".ray" / "auth_token"
    there = written.exists()
    try:
        yield
    finally:
        if not there and written.exists() and written.stat().st_uid == os.getuid():
            written.chmod(0o600)
