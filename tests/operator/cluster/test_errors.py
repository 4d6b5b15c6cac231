"""An answer of the API server becomes the error that tells what to do about it."""

import pytest

from mooring_operator.cluster import errors
from mooring_operator.cluster.errors import KubeError, from_answer
from mooring_operator.cluster.kinds import DEPLOYMENT, INFERENCE_SERVICE, NODE, SERVICE


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.InvalidError),
        (401, errors.UnauthorizedError),
        (403, errors.ForbiddenError),
        (404, errors.NotFoundError),
        (405, KubeError),
        (409, errors.ConflictError),
        (422, errors.InvalidError),
        (429, errors.UnavailableError),
        (500, errors.UnavailableError),
        (503, errors.UnavailableError),
    ],
)
def test_status(status: int, kind: type[KubeError]) -> None:
    error = from_answer(status, {"reason": "Because", "message": "so"}, "apply /x")
    assert type(error) is kind
    assert str(error) == f"{status} Because: cannot apply /x: so"


def test_not_every_500_mends() -> None:
    message = "failed to create typed patch object (x/y; apps/v1, Kind=Deployment): .spec.foo: field not declared"
    assert type(from_answer(500, {"message": message}, "apply /x")) is errors.InvalidError


def test_the_server_may_say_when() -> None:
    assert from_answer(429, {"details": {"retryAfterSeconds": 3}}, "get /x").retry_after == 3.0
    assert from_answer(429, {}, "get /x").retry_after is None


def test_an_empty_answer_has_a_reason() -> None:
    assert str(from_answer(503, {}, "get /x")) == "503 UnavailableError: cannot get /x: no message"


def test_paths() -> None:
    assert DEPLOYMENT.path("a", "b") == "/apis/apps/v1/namespaces/a/deployments/b"
    assert SERVICE.path(None) == "/api/v1/services"
    assert NODE.path("ignored", "n") == "/api/v1/nodes/n"
    assert INFERENCE_SERVICE.path("a", "b", "status").endswith("/inferenceservices/b/status")
    assert SERVICE.path("a", "../b") == "/api/v1/namespaces/a/services/..%2Fb"
    assert (SERVICE.api_version, DEPLOYMENT.api_version) == ("v1", "apps/v1")
