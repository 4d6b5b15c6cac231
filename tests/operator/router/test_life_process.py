"""A router that changes, that ends, and what it shows of itself."""

import http.client
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mooring_operator.desired import envoy
from tests.support.router_replicas import WAITS
from tests.support.router_world import GONE, LIVE, READY, Answer, World, host, minted, world_of

pytestmark = [pytest.mark.process, pytest.mark.timeout(60)]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[World]:
    """A router of one test's own, with two replicas that live and a third that is not there."""
    with world_of(tmp_path, (LIVE, LIVE, GONE)) as made:
        yield made


class Waiting:
    """A step that a replica has begun and not answered."""

    def __init__(self, world: World, ordinal: int) -> None:
        self._replica = world.replicas[ordinal]
        self._answers: list[Answer] = []
        self._thread = threading.Thread(target=lambda: self._answers.append(world.step(ordinal, WAITS)))
        self._thread.start()
        assert self._replica.waits.wait(20)

    def answer(self) -> Answer:
        self._replica.go_on.set()
        self._thread.join()
        [found] = self._answers
        return found


def status_of(address: envoy.Address, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://{address.host}:{address.port}{path}", timeout=10) as answer:
            status: int = answer.status
            return status
    except urllib.error.HTTPError as error:
        return error.code


def test_more_replicas_are_known_without_a_new_pod_and_what_runs_goes_on(own: World) -> None:
    waiting = Waiting(own, 0)
    grown = replace(own.envoy.router, replicas=tuple(host(ordinal) for ordinal in range(6)))
    # The sixth replica is the second one's process, by another name.
    own.names.zone[host(5)] = [own.addresses[1]]
    own.envoy.write(grown)
    own.envoy.wait(lambda: own.envoy.stat("cluster_manager.cds.update_success") == 2, "the new clusters")
    own.counts(5)
    assert own.envoy.stat("cluster_manager.cds.update_rejected") == 0
    assert {own.step(5).replica for _ in range(6)} == {own.addresses[1]}
    assert waiting.answer().status == 200


def test_a_replica_that_comes_back_elsewhere_is_found_again(own: World) -> None:
    own.names.zone[host(0)] = own.names.zone[host(2)] = [own.addresses[1]]
    own.names.zone[READY] = [own.addresses[1]]
    own.envoy.wait(lambda: own.step(0).replica == own.addresses[1], "the new address")
    own.envoy.wait(lambda: own.envoy.stat("cluster.http.membership_total") == 4, "the replica that came")
    assert {own.step(2).replica for _ in range(6)} == {own.addresses[1]}
    del own.names.zone[host(2)]
    own.envoy.wait(lambda: own.envoy.stat("cluster.http.membership_total") == 3, "the replica that went")
    assert own.step(2).status == 200


def test_its_end_waits_for_requests_and_sends_clients_elsewhere(own: World) -> None:
    waiting = Waiting(own, 0)
    assert status_of(own.envoy.router.listen, envoy.READY_PATH) == 200
    ending = subprocess.Popen(envoy.drain(own.envoy.router))
    own.envoy.wait(lambda: status_of(own.envoy.router.listen, envoy.READY_PATH) == 503, "it to be unready")
    # Who has not heard of it yet is served, and told to connect anew.
    late = own.step(1)
    assert (late.status, late.replica, late.headers["connection"]) == (200, own.addresses[1], "close")
    with pytest.raises(subprocess.TimeoutExpired):
        ending.wait(3)
    assert waiting.answer().status == 200
    assert ending.wait(20) == 0
    own.envoy.process.terminate()
    assert own.envoy.process.wait(20) == 0


def test_a_connection_that_stays_is_told_too(own: World) -> None:
    connection = http.client.HTTPConnection(own.envoy.target, timeout=20)

    def asked() -> str | None:
        connection.request("GET", "/", headers={"x-mooring-session": minted(0)})
        answer = connection.getresponse()
        answer.read()
        return answer.getheader("connection")

    assert asked() is None
    own.envoy.admin("/healthcheck/fail", "POST")
    assert asked() == "close"
    connection.close()


def test_it_shows_metrics_and_nothing_else_of_its_inside(world: World) -> None:
    status = world.envoy.router.status
    with urllib.request.urlopen(f"http://{status.host}:{status.port}{envoy.METRICS_PATH}", timeout=10) as answer:
        page = answer.read().decode()
    assert 'envoy_cluster_upstream_rq_active{envoy_cluster_name="http"}' in page
    assert 'envoy_cluster_upstream_rq_active{envoy_cluster_name="grpc"}' in page
    assert status_of(status, envoy.LIVE_PATH) == 200
    for path in (
        "/",
        "/config_dump",
        "/stats",
        "/quitquitquit",
        "/healthcheck/fail",
        "/stats/prometheus/../../quitquitquit",
    ):
        assert status_of(status, path) == 404
    assert status_of(world.envoy.router.listen, envoy.READY_PATH) == 200
