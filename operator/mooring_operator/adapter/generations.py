"""The serving certificates: made, renewed and chosen from, without a gap. Pure but for the making of keys.

Each generation signs itself and is its own authority: the API server trusts exactly the certificates that we serve, and
there is no key that could sign others. Of a lifetime L, a generation is made when the one before is L/2 old, so that
two are trusted at any time, and it is served from its age of L/8 on, when every API server has long heard of it. Its
validity begins L/8 before it was made: clocks of API servers may differ by so much.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ..api import names

RENEW_AFTER: Final = 1 / 2
SERVE_AFTER: Final = 1 / 8
_BACKDATED: Final = 1 / 8
MOST: Final = 8
"""Generations in a Secret that are read: more than three do not come from us."""


@dataclass(frozen=True)
class Generation:
    """A certificate and its key, both PEM, and its times by the API server's clock."""

    certificate: str
    key: str
    serial: int
    created: datetime
    expires: datetime

    def age(self, now: datetime) -> float:
        """Return how old it is as a share of its lifetime: 0 when it was made, 1 when it expires."""
        return (now - self.created) / (self.expires - self.created)

    def valid(self, now: datetime) -> bool:
        """Tell whether an API server whose clock says `now` takes it."""
        return -_BACKDATED <= self.age(now) < 1


def make(hosts: Sequence[str], now: datetime, lifetime: timedelta) -> Generation:
    """Return a new generation for these DNS names."""
    key = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    # A name of its own: where two generations have one name, OpenSSL may hold one against the key of the other.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{names.ADAPTER} {serial:x}"[:64])])
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - lifetime * _BACKDATED)
        .not_valid_after(now + lifetime)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return read(pem, private.decode(), hosts)


def read(certificate: str, key: str, hosts: Sequence[str]) -> Generation:
    """Return the generation in these PEM texts. Raises `ValueError` when it is none of ours or lacks a name."""
    parsed = x509.load_pem_x509_certificate(certificate.encode())
    private = serialization.load_pem_private_key(key.encode(), None)
    if private.public_key() != parsed.public_key():
        raise ValueError("the key does not belong to the certificate")
    try:
        found = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound as error:
        raise ValueError("the certificate names no host") from error
    if missing := set(hosts) - set(found.get_values_for_type(x509.DNSName)):
        raise ValueError(f"the certificate is not for {', '.join(sorted(missing))}")
    begins, ends = parsed.not_valid_before_utc, parsed.not_valid_after_utc
    created = begins + (ends - begins) * (_BACKDATED / (1 + _BACKDATED))
    return Generation(certificate, key, parsed.serial_number, created, ends)


def renew(
    known: Iterable[Generation], now: datetime, hosts: Sequence[str], lifetime: timedelta
) -> tuple[Generation, ...]:
    """Return the generations that are valid now, oldest first, with a new one when the newest is due for renewal.

    What is not valid goes, also what lies in the future: the API server's clock was set back, and refuses it.
    """
    kept = sorted((each for each in known if each.valid(now)), key=lambda each: (each.created, each.serial))
    # A lifetime that was shortened holds for what stands, too.
    if not kept or kept[-1].age(now) >= RENEW_AFTER or now - kept[-1].created >= lifetime * RENEW_AFTER:
        kept.append(make(hosts, now, lifetime))
    return tuple(kept)


def bundle(generations: Iterable[Generation]) -> str:
    """Return what an API server must trust (PEM), the same for the same generations."""
    return "".join(each.certificate.strip() + "\n" for each in generations)


def serving(generations: Sequence[Generation], trusted: str, now: datetime) -> Generation:
    """Return the generation to serve: of those that stand in `trusted` the newest that everybody has heard of.

    `trusted` is the bundle that the API server had when we looked last. Where nothing of it is ours (nobody could
    connect, whatever we serve), all of them stand to choose from. `generations` is not empty, oldest first.
    """
    usable = [each for each in generations if each.certificate.strip() in trusted] or list(generations)
    ripe = [each for each in usable if each.age(now) >= SERVE_AFTER]
    return ripe[-1] if ripe else usable[0]
