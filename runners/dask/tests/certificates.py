"""Certificates that a cluster trusts, made on the spot."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest


def make(folder: Path) -> dict[str, Any]:
    """Return arguments of a `distributed.Security` that lets in who has this folder's files."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("There is no openssl to make certificates with.")
    key, certificate = str(folder / "key.pem"), str(folder / "certificate.pem")
    wanted = ("-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost")
    command = (openssl, "req", *wanted, "-keyout", key, "-out", certificate)
    subprocess.run(command, check=True, capture_output=True)
    arguments: dict[str, Any] = {"tls_ca_file": certificate, "require_encryption": True}
    for role in ("client", "scheduler", "worker"):
        arguments |= {f"tls_{role}_key": key, f"tls_{role}_cert": certificate}
    return arguments
