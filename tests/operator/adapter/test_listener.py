"""The TLS side without a socket: what clients see, and which of them are let in."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mooring_operator.adapter.generations import make
from mooring_operator.adapter.listener import Tls
from tests.support import certificates

HOST = "mooring-adapter.system.svc"
GENERATION = make((HOST,), datetime.now(UTC), timedelta(days=1))


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, host: str = HOST) -> ssl.SSLObject:
    """The server's side after a handshake. Raises `ssl.SSLError` for whoever refuses it."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [server.wrap_bio(up, down, server_side=True), client.wrap_bio(down, up, server_hostname=host)]
    for _ in range(6):
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return sides[0]


@pytest.fixture
def front(tmp_path: Path) -> certificates.Pair:
    return certificates.authority(tmp_path, "front")


def tls(front: certificates.Pair) -> Tls:
    return Tls(GENERATION.certificate, GENERATION.key, front.certificate.read_text())


def trusting(shown: certificates.Pair | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=GENERATION.certificate)
    if shown is not None:
        context.load_cert_chain(shown.certificate, shown.key)
    return context


def test_the_api_server_takes_a_generation_by_itself(front: certificates.Pair) -> None:
    assert handshake(tls(front).context(), trusting()).getpeercert() is None
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        handshake(tls(front).context(), trusting(), "mooring-adapter.other.svc")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tls(front).context(), ssl.create_default_context())


def test_two_generations_are_trusted_side_by_side(front: certificates.Pair) -> None:
    for _ in range(8):  # which of two is found first is not for us to say
        other = make((HOST,), datetime.now(UTC), timedelta(days=1))
        for bundle in (other.certificate + GENERATION.certificate, GENERATION.certificate + other.certificate):
            handshake(tls(front).context(), ssl.create_default_context(cadata=bundle))


def test_only_the_front_proxys_authority_vouches(front: certificates.Pair, tmp_path: Path) -> None:
    proxy = certificates.signed(front, tmp_path, "front-proxy")
    found = handshake(tls(front).context(), trusting(proxy)).getpeercert()
    assert found is not None
    assert (("commonName", "front-proxy"),) in found["subject"]

    users = certificates.authority(tmp_path, "users")
    impostor = certificates.signed(users, tmp_path, "front-proxy")
    with pytest.raises(ssl.SSLError):
        handshake(tls(front).context(), trusting(impostor))


def test_what_cannot_be_used_is_said(front: certificates.Pair) -> None:
    good = tls(front)
    other = make((HOST,), datetime.now(UTC), timedelta(days=1))
    for bad in (
        Tls(good.certificate, other.key, good.authority),
        Tls("hello", good.key, good.authority),
        Tls(good.certificate, good.key, "hello"),
    ):
        with pytest.raises(ValueError, match="cannot be used"):
            bad.context()
