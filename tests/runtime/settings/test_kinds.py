from collections.abc import Callable

import pytest

from mooring_runtime.settings import kinds
from mooring_runtime.settings.kinds import Kind


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (kinds.port, "8000", 8000),
        (kinds.port, "0", 0),
        (kinds.size, "67108864", 67108864),
        (kinds.size, "64Mi", 67108864),
        (kinds.size, "64MiB", 67108864),
        (kinds.size, "2Gi", 2**31),
        (lambda: kinds.size(none=True), "0", 0),
        (lambda: kinds.size(none=True), "64Mi", 67108864),
        (kinds.flag, "TRUE", True),
        (kinds.flag, "0", False),
        (kinds.sha256, "sha256:" + "AB" * 32, "ab" * 32),
        (kinds.https_uri, "https://host.example:8443/a/model.onnx?x=1", "https://host.example:8443/a/model.onnx?x=1"),
        (lambda: kinds.seconds(0, 10), "0.25", 0.25),
        (kinds.model_name, "file-type", "file-type"),
        (kinds.duration, "2ms", 0.002),
        (kinds.duration, "500us", 0.0005),
        (kinds.duration, "1.5s", 1.5),
        (kinds.duration, "0", 0.0),
        (kinds.target, "80ms", 0.08),
        (kinds.target, "9ms", 0.009),
        (kinds.target, "0.25", 0.25),
        (kinds.object_name, "shop.v2-a", "shop.v2-a"),
        (lambda: kinds.counts(1, 64), "8, 16,32", (8, 16, 32)),
        (kinds.names, "b, a,b", ("b", "a")),
    ],
)
def test_right_texts_are_read(kind: Callable[[], Kind[object]], text: str, value: object) -> None:
    assert kind().parse(text) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (kinds.port, "65536"),
        (kinds.port, "-1"),
        (kinds.port, "8000.0"),
        (kinds.port, "٨"),
        (kinds.port, "tcp://10.0.0.1:8000"),
        (kinds.size, "0"),
        (kinds.size, "64M"),
        (kinds.size, "-1"),
        (kinds.size, "1.5Gi"),
        (lambda: kinds.size(none=True), "-1"),
        (lambda: kinds.size(none=True), ""),
        (kinds.flag, "maybe"),
        (kinds.sha256, "abc"),
        (kinds.sha256, "g" * 64),
        (lambda: kinds.seconds(0, 10), "nan"),
        (lambda: kinds.seconds(0, 10), "inf"),
        (lambda: kinds.seconds(0, 10), "11"),
        (lambda: kinds.choice("a", "b"), "c"),
        (kinds.model_name, "a/b"),
        (kinds.model_name, "a b"),
        (kinds.path, "a\0b"),
        (kinds.duration, "2"),
        (kinds.duration, "-2ms"),
        (kinds.duration, "2 ms"),
        (kinds.duration, "1d"),
        (lambda: kinds.counts(1, 64), "8,4"),
        (lambda: kinds.counts(1, 64), "8,8"),
        (lambda: kinds.counts(1, 64), "8,,16"),
        (lambda: kinds.counts(1, 64), "65"),
        (kinds.names, "a,,b"),
        (kinds.names, "a/b"),
        (kinds.https_uri, "http://host/model.onnx"),
        (kinds.https_uri, "https://host/"),
        (kinds.https_uri, "https:///model.onnx"),
        (kinds.https_uri, "https://host/..%2f..%2fetc%2fpasswd"),
        (kinds.https_uri, "https://host/.hidden"),
        (kinds.https_uri, "https://host:99999/model.onnx"),
        (kinds.https_uri, "https://host/a b.onnx"),
        (kinds.https_uri, "https://user:pw@host/model.onnx"),
    ],
)
def test_wrong_texts_are_refused(kind: Callable[[], Kind[object]], text: str) -> None:
    with pytest.raises(ValueError):
        kind().parse(text)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("https://user:secret@host:8443/a/b?token=secret#secret", "https://host:8443/a/b"),
        ("https://[fd00::1]/m", "https://[fd00::1]/m"),
        ("https://host:bad/m", "https://host/m"),
    ],
)
def test_redacted_uri_has_no_secret(uri: str, shown: str) -> None:
    assert kinds.redact(uri) == shown


def test_file_name_is_decoded() -> None:
    assert kinds.file_name("https://host/a/my%20model.onnx?x=/y") == "my model.onnx"
