"""A token that is refused is read again: tokens of service accounts rotate."""

import json
import secrets
from collections.abc import Iterator

import pytest

from mooring_operator.cluster.connection import Connection
from mooring_operator.cluster.errors import UnauthorizedError
from mooring_operator.cluster.kube import Kube
from tests.cluster.cluster import Cluster


@pytest.fixture
def account(control_plane: Cluster) -> Iterator[str]:
    """A service account of the default namespace."""
    name = f"rotating-{secrets.token_hex(4)}"
    control_plane.kubectl("create", "serviceaccount", name)
    yield name
    control_plane.kubectl("delete", "serviceaccount", name)


async def test_a_refused_token_is_read_again(control_plane: Cluster, account: str) -> None:
    kubeconfig = control_plane.token_kubeconfig("default", account)
    good = kubeconfig.read_text()
    bad = json.loads(good)
    bad["users"][0]["user"]["token"] = "refused"
    kubeconfig.write_text(json.dumps(bad))
    async with Kube(await Connection.load(kubeconfig), concurrency=1) as kube:
        with pytest.raises(UnauthorizedError):
            await kube.read("/apis")
        kubeconfig.write_text(good)
        assert (await kube.read("/apis"))["kind"] == "APIGroupList"
