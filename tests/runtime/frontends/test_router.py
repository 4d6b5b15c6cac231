import pytest

from mooring_runtime.errors import MalformedHttp, MethodNotAllowed, UnknownPath
from mooring_runtime.frontends.http.router import Router

ROUTER = Router(
    ("GET", "/v2", "server"),
    ("GET", "/v2/models/{name}", "model"),
    ("GET", "/v2/models/{name}/versions/{version}", "version"),
    ("POST", "/v2/models/{name}/infer", "infer"),
)


@pytest.mark.parametrize(
    ("method", "target", "found"),
    [
        (b"GET", b"/v2", ("server", "", None)),
        (b"HEAD", b"/v2", ("server", "", None)),
        (b"GET", b"/v2/models/m?x=/y#z", ("model", "m", None)),
        (b"GET", b"/v2/models/a%2Fb%20c%C3%A4", ("model", "a/b cä", None)),
        (b"GET", b"/v2/models/m/versions/12", ("version", "m", "12")),
        (b"POST", b"/v2/models/m/infer", ("infer", "m", None)),
        (b"GET", b"http://host:1/v2/models/m", ("model", "m", None)),
    ],
)
def test_found(method: bytes, target: bytes, found: tuple[str, str, str | None]) -> None:
    assert ROUTER.find(method, target)[:3] == found
    assert ROUTER.find(method, target)[:3] == found


@pytest.mark.parametrize(
    "target", [b"/", b"/v2/", b"/v3", b"/v2/models/", b"/v2/models/m/versions/x", b"/v2/models/m/versions/", b"*", b""]
)
def test_no_such_path(target: bytes) -> None:
    with pytest.raises(UnknownPath, match="no such path"):
        ROUTER.find(b"GET", target)


@pytest.mark.parametrize(
    ("method", "target", "allowed"), [(b"GET", b"/v2/models/m/infer", "POST"), (b"DELETE", b"/v2", "GET, HEAD")]
)
def test_the_wrong_method_learns_the_right_ones(method: bytes, target: bytes, allowed: str) -> None:
    with pytest.raises(MethodNotAllowed) as caught:
        ROUTER.find(method, target)
    assert caught.value.allowed == allowed
    assert str(caught.value) == f"{target.decode()} does not take {method.decode()}, only {allowed}"


OTHERS = Router(
    ("GET", "/v1/models/{name}", "status"),
    ("POST", "/v1/models/{name}:predict", "predict"),
    ("POST", "/v1/models/{name}/labels/{label}:predict", "labelled"),
    ("GET", "/v2/models/stats", "stats"),
    ("GET", "/v2/models/{name}", "model"),
    ("GET", "/", "root"),
    base_path="/ml/prod",
    any_case="v1",
)


@pytest.mark.parametrize(
    ("method", "target", "handler", "names"),
    [
        (b"POST", b"/v1/models/m:predict", "predict", {"name": "m"}),
        (b"POST", b"/v1/models/a:b:predict", "predict", {"name": "a:b"}),
        (b"POST", b"/V1/Models/Mine:Predict", "predict", {"name": "Mine"}),
        (b"POST", b"/v1/models/m%3Apredict", "predict", {"name": "m"}),
        (b"POST", b"/v1/models/m/labels/new:predict", "labelled", {"name": "m", "label": "new"}),
        (b"GET", b"/v1/models/m:predict", "status", {"name": "m:predict"}),
        (b"GET", b"/v2/models/stats", "stats", {}),
        (b"GET", b"/v2/models/Stats", "model", {"name": "Stats"}),
        (b"GET", b"/ml/prod/v2/models/stats", "stats", {}),
        (b"GET", b"/ml/prod/", "root", {}),
        (b"GET", b"/ml/prod", "root", {}),
        (b"GET", b"/", "root", {}),
    ],
)
def test_suffixes_letter_case_and_the_base_path(
    method: bytes, target: bytes, handler: str, names: dict[str, str]
) -> None:
    found = OTHERS.find(method, target)
    assert (found.handler, found.names) == (handler, names)


@pytest.mark.parametrize("target", [b"/V2/models/m", b"/ml/v2/models/m", b"/v1/models/"])
def test_what_only_looks_alike_is_no_path(target: bytes) -> None:
    with pytest.raises(UnknownPath):
        OTHERS.find(b"GET", target)


def test_a_path_that_is_no_text() -> None:
    with pytest.raises(MalformedHttp, match="not UTF-8"):
        ROUTER.find(b"GET", b"/v2/models/%ff")


def test_many_targets_do_not_fill_the_memory() -> None:
    for number in range(3000):
        ROUTER.find(b"GET", b"/v2?%d" % number)
    assert len(ROUTER._cache) <= 1024
