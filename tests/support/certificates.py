"""Certificates for tests: an authority, and what it signs for servers and clients of this machine."""

import subprocess
from pathlib import Path
from typing import NamedTuple


class Pair(NamedTuple):
    """A certificate and its key, in PEM files."""

    certificate: Path
    key: Path


_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def authority(folder: Path, name: str = "ca") -> Pair:
    """An authority of its own."""
    made = Pair(folder / f"{name}.pem", folder / f"{name}-key.pem")
    _openssl("req", "-x509", *_KEY, "-days", "2", "-subj", f"/CN={name}", *_files(made))
    return made


def signed(by: Pair, folder: Path, name: str, *hosts: str) -> Pair:
    """A certificate for these addresses, or for localhost and 127.0.0.1, that `by` has signed."""
    made, request = Pair(folder / f"{name}.pem", folder / f"{name}-key.pem"), folder / f"{name}.csr"
    _openssl("req", *_KEY, "-subj", f"/CN={name}", "-keyout", str(made.key), "-out", str(request))
    extensions = folder / f"{name}.ext"
    addresses = ",".join(f"IP:{host}" for host in hosts) or "DNS:localhost,IP:127.0.0.1"
    extensions.write_text(f"subjectAltName={addresses}\n")
    _openssl(
        *("x509", "-req", "-in", str(request), "-CA", str(by.certificate), "-CAkey", str(by.key), "-CAcreateserial"),
        *("-days", "2", "-extfile", str(extensions), "-out", str(made.certificate)),
    )
    return made


def _files(pair: Pair) -> tuple[str, ...]:
    return ("-keyout", str(pair.key), "-out", str(pair.certificate))


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
