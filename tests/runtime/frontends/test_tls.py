"""TLS files: how they are read, and what happens when they change."""

import ssl
from pathlib import Path

import pytest

from mooring_runtime.errors import SettingsInvalid
from mooring_runtime.frontends.tls import Tls, TlsFiles
from tests.support.certificates import Pair, authority, signed


def handshake(tls: Tls, trusted: Path, shown: Pair | None = None, name: str | None = "localhost") -> ssl.SSLObject:
    """The client's end of a handshake in memory. Raises ssl.SSLError when either side refuses."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = name is not None
    context.load_verify_locations(trusted)
    context.set_alpn_protocols(["h2", "http/1.1"])
    if shown is not None:
        context.load_cert_chain(shown.certificate, shown.key)
    return connected(tls, context, name=name)[0]


def connected(
    tls: Tls, context: ssl.SSLContext, session: ssl.SSLSession | None = None, name: str | None = "localhost"
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Both ends of a handshake: the client's, of `context`, and the server's, whose sessions end if it is dropped."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(back, there, server_hostname=name, session=session)
    server = tls.context.wrap_bio(there, back, server_side=True)
    for _ in range(5):
        for end in (client, server):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    server.write(b"ready")
    assert client.read(5) == b"ready"
    return client, server


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pair, Pair, Pair, Pair]:
    """Two authorities, and a certificate signed by each."""
    folder = tmp_path_factory.mktemp("certificates")
    first, second = authority(folder, "first"), authority(folder, "second")
    return first, second, signed(first, folder, "server"), signed(second, folder, "renewed")


def put(pair: Pair, folder: Path) -> TlsFiles:
    """Copy a pair into `folder`, as a renewal does: new files that take the old ones' names."""
    files = TlsFiles(folder / "tls.crt", folder / "tls.key")
    for source, target in zip(pair, files[:2], strict=True):
        assert target is not None
        fresh = target.with_suffix(".new")
        fresh.write_bytes(source.read_bytes())
        fresh.replace(target)
    return files


@pytest.mark.parametrize("protocol", ["h2", "http/1.1"])
@pytest.mark.parametrize("name", ["localhost", None])
def test_a_handshake(made: tuple[Pair, ...], protocol: str, name: str | None) -> None:
    first, _, server, _ = made
    client = handshake(Tls(TlsFiles(*server), [protocol]), first.certificate, name=name)
    assert client.selected_alpn_protocol() == protocol
    assert client.version() in {"TLSv1.2", "TLSv1.3"}


@pytest.mark.parametrize("name", ["localhost", None])
def test_renewed_files_are_taken_by_new_handshakes(made: tuple[Pair, ...], tmp_path: Path, name: str | None) -> None:
    first, second, server, renewed = made
    tls = Tls(put(server, tmp_path), ["h2"])
    handshake(tls, first.certificate, name=name)
    put(renewed, tmp_path)
    handshake(tls, first.certificate, name=name)
    tls.refresh()
    handshake(tls, second.certificate, name=name)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tls, first.certificate, name=name)


def test_files_that_cannot_be_used_change_nothing(
    made: tuple[Pair, ...], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, _, server, renewed = made
    tls = Tls(put(server, tmp_path), ["h2"])
    (tmp_path / "tls.key").write_bytes(renewed.key.read_bytes())  # The other half has not come yet.
    tls.refresh()
    assert "the old ones stay" in caplog.text
    handshake(tls, first.certificate)
    (tmp_path / "tls.key").unlink()
    tls.refresh()
    handshake(tls, first.certificate)
    put(server, tmp_path)
    tls.refresh()
    handshake(tls, first.certificate)


def test_clients_show_certificates_where_an_authority_is_named(made: tuple[Pair, ...], tmp_path: Path) -> None:
    first, second, server, other = made
    trusted = tmp_path / "ca.pem"
    trusted.write_bytes(first.certificate.read_bytes())
    tls = Tls(TlsFiles(*server, trusted), ["h2"])
    handshake(tls, first.certificate, server)
    for shown in (None, other):
        with pytest.raises(ssl.SSLError):
            handshake(tls, first.certificate, shown)
    trusted.write_bytes(second.certificate.read_bytes())
    tls.refresh()
    handshake(tls, first.certificate, other)
    with pytest.raises(ssl.SSLError):
        handshake(tls, first.certificate, server)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_no_session_outlives_the_authority_of_its_client(
    made: tuple[Pair, ...], tmp_path: Path, version: ssl.TLSVersion
) -> None:
    first, second, server, _ = made
    trusted = tmp_path / "ca.pem"
    trusted.write_bytes(first.certificate.read_bytes())
    tls = Tls(TlsFiles(*server, trusted), ["h2"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = version
    context.load_verify_locations(first.certificate)
    context.load_cert_chain(server.certificate, server.key)
    client, begun = connected(tls, context)
    again, resumed = connected(tls, context, client.session)
    assert again.session_reused
    trusted.write_bytes(second.certificate.read_bytes())
    tls.refresh()
    with pytest.raises(ssl.SSLError):
        connected(tls, context, again.session)
    assert begun.version() == resumed.version(), "what is open stays open"


def test_files_that_are_none_stop_the_start(made: tuple[Pair, ...], tmp_path: Path) -> None:
    _, _, server, renewed = made
    for files in (
        TlsFiles(tmp_path / "missing", server.key),
        TlsFiles(server.certificate, renewed.key),
        TlsFiles(server.key, server.key),
        TlsFiles(*server, tmp_path / "missing"),
    ):
        with pytest.raises(SettingsInvalid, match="MOORING_TLS_CERT_FILE"):
            Tls(files, ["h2"])
