"""URLs of storages: the same in each process, and without the passwords that are in them."""

import os
from typing import Any
from urllib.parse import unquote

from fanfold.adapters.results import schemes
from fanfold.values.errors import UsageError

_FOLDERS = ("file://", "file:", "local://", "local:")


def settled(url: str) -> tuple[str, dict[str, Any]]:
    """Return a URL as all processes understand it, and the passwords that it had, as options.

    A folder becomes an absolute path, as workers have other working directories.

    Raises:
        UnknownStorage: Nothing is installed for such a URL.
        UsageError: It isn't written as it has to be.
    """
    schemes.check_spelling(url)
    folder = _folder(url)
    if folder is not None:
        return os.path.abspath(os.path.expanduser(folder)), {}
    schemes.check(url)
    links: list[str] = []
    options: dict[str, Any] = {}
    for link in url.split("::"):
        rest, password = _without_password(link)
        if password and links:  # of a storage that others are put upon
            options[link.partition("://")[0]] = {"password": password}
        elif password:
            options["password"] = password
        links.append(rest)
    return "::".join(links), options


def shown(url: str) -> str:
    """Return a URL without users."""
    return "::".join(map(_without_user, url.split("::")))


def _folder(url: str) -> str | None:
    if "::" in url:
        return None
    for mark in _FOLDERS:
        if url.startswith(mark):
            return url.removeprefix(mark)
    return None if "://" in url else url


def _without_password(link: str) -> tuple[str, str]:
    scheme, separator, rest = link.partition("://")
    host, slash, path = rest.partition("/")
    user, at, name = host.rpartition("@")
    user, colon, password = user.partition(":")
    if at and colon:
        return f"{scheme}{separator}{user}{at}{name}{slash}{path}", unquote(password)
    port = host.partition(":")[2]
    if separator and not at and "@" in path and port and not port.isdigit():
        raise UsageError(
            f"The password in the {scheme}:// URL for results has a '/' in it, by which it would "
            "end: write %2F there, or give it as the option password."
        )
    return link, ""


def _without_user(link: str) -> str:
    scheme, separator, rest = link.partition("://")
    host, slash, path = rest.partition("/")
    return scheme + separator + host.rpartition("@")[2] + slash + path
