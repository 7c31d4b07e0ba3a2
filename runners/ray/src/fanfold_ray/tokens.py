"""Ray's token authentication: it stays on, and no token is ever shown.

Ray switches it on for a cluster that it starts, writing the token to `~/.ray/auth_token`, and for
one of this machine that it finds by itself. For an address that was given it uses a token only
where RAY_AUTH_MODE=token says so, for whoever is there gets to see it.
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


def asked() -> bool:
    """Return whether this process talks to Ray with a token."""
    mode = _raylet_names.get_authentication_mode()
    return bool(mode == _raylet_names.AuthenticationMode.TOKEN)


def use_if_there() -> None:
    """Use the token for a Ray on this machine, as Ray does for one that it finds by itself."""
    logger = logging.getLogger(authentication_token_setup.__name__)
    before, logger.disabled = logger.disabled, True
    try:
        authentication_token_setup.maybe_enable_token_auth_if_token_available(
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
