"""How Prometheus is asked, and what of an answer is believed. The queries meet a real one in tests/contract."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mooring_operator.cluster import prometheus, prometheus_http
from mooring_operator.cluster.prometheus import Prometheus
from mooring_operator.cluster.prometheus_http import (
    Access,
    GarbageError,
    PrometheusError,
    RefusedError,
    SlowError,
    UnreachableError,
)
from mooring_operator.facts import Key, Service
from mooring_operator.scaling.findings import Findings
from mooring_operator.scaling.scraping import Scraping
from tests.support import builders
from tests.support.ports import free_port
from tests.support.prometheus_stand_in import NOW, SCALAR, Asked, Reply, StandIn, nothing, stand_in, told


@pytest.fixture
def server() -> Iterator[StandIn]:
    with stand_in() as made:
        yield made


def service(name: str = "sentiment", percentile: int = 95) -> Service:
    return builders.service(name, scaling={"maxReplicas": 9, "latency": {"target": "1s", "percentile": percentile}})


def vector(*series: tuple[str, str]) -> dict[str, Any]:
    labels = {"mooring_namespace": builders.NAMESPACE}
    return {
        "status": "success",
        "data": {
            "resultType": "vector",
            "result": [{"metric": {**labels, "mooring_service": name}, "value": [NOW, text]} for name, text in series],
        },
    }


async def look(server: StandIn, timeout: float = 1.0, **access: Any) -> dict[Key, Findings]:
    async with Prometheus(Access(server.url, timeout=timeout, **access)) as asked:
        return await asked.find([service()])


async def test_each_service_has_its_numbers_and_one_without_series_says_so(server: StandIn) -> None:
    def two(asked: Asked) -> Reply:
        is_pods = asked.params["query"].startswith("count by (mooring_namespace, mooring_service)")
        return told(vector(("a", "3"), ("b", "5"))) if is_pods else nothing(asked)

    server.answers = two
    async with Prometheus(Access(server.url)) as asked:
        found = await asked.find([service("a"), service("b"), service("c")])
    assert {key.name: findings.pods for key, findings in found.items()} == {"a": 3, "b": 5, "c": 0}
    assert found[Key(builders.NAMESPACE, "c")] == Findings(NOW)


async def test_the_number_of_queries_does_not_grow_with_the_services(server: StandIn) -> None:
    async with Prometheus(Access(server.url)) as asked:
        await asked.find([service("a")])
        one = len(server.asked)
    async with Prometheus(Access(server.url)) as asked:
        await asked.find([service(f"service-{number}") for number in range(100)])
    assert len(server.asked) == 2 * one


async def test_all_queries_of_a_look_are_on_one_moment_of_prometheus_own_clock(server: StandIn) -> None:
    await look(server)
    assert {each.params["time"] for each in server.asked if "time" in each.params} == {str(NOW)}
    (past,) = [each.params for each in server.asked if each.path == "/api/v1/query_range"]
    assert (past["start"], past["end"], past["step"]) == (str(int(NOW) - 3600), str(int(NOW)), "15")


@pytest.mark.parametrize(("interval", "step", "window"), [(5.0, 5, "15000ms"), (60.0, 60, "180000ms")])
async def test_a_history_has_a_point_for_each_scrape(server: StandIn, interval: float, step: int, window: str) -> None:
    await look(server, scraping=Scraping(interval))
    (past,) = [each.params for each in server.asked if each.path == "/api/v1/query_range"]
    assert (past["start"], past["end"], past["step"]) == (str(int(NOW) - 3600), str(int(NOW)), str(step))
    assert f"[{window}]" in past["query"]


async def test_those_who_ask_at_once_share_a_look_and_the_next_ones_have_it_too(server: StandIn) -> None:
    async with Prometheus(Access(server.url)) as asked:
        await asyncio.gather(*(asked.find([service(f"service-{number}")]) for number in range(20)))
        await asked.find([service()])
    assert server.looks == 1


async def test_a_look_grows_old(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus, "REMEMBER", 0.0)
    async with Prometheus(Access(server.url)) as asked:
        await asked.find([service()])
        await asked.find([service()])
    assert server.looks == 2


async def test_another_percentile_is_looked_for_and_then_always(server: StandIn) -> None:
    async with Prometheus(Access(server.url)) as asked:
        for percentile in (95, 99, 95, 99):
            await asked.find([service(percentile=percentile)])
    assert server.looks == 2


async def test_who_gives_up_waiting_does_not_take_the_answer_from_the_others(server: StandIn) -> None:
    hold = threading.Event()

    def slowly(asked: Asked) -> Reply:
        hold.wait(1.0)
        return nothing(asked)

    server.answers = slowly
    async with Prometheus(Access(server.url)) as asked:
        first = asyncio.create_task(asked.find([service()]))
        second = asyncio.create_task(asked.find([service()]))
        await asyncio.sleep(0.05)
        first.cancel()
        hold.set()
        assert len(await second) == 1
    assert server.looks == 1


async def test_a_failed_look_stands_for_a_while_too(server: StandIn) -> None:
    server.answers = lambda asked: told({}, 500)
    async with Prometheus(Access(server.url)) as asked:
        for _ in range(3):
            with pytest.raises(RefusedError):
                await asked.find([service()])
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("reply", "error", "message"),
    [
        (told({"status": "error", "errorType": "bad_data", "error": "no such function"}, 400), RefusedError, "no such"),
        ((401, b"who are you?"), RefusedError, "401: who are you"),
        ((422, b'{"errorType": "execution", "error": "too many samples"}'), RefusedError, "too many samples"),
        ((503, b'{"errorType": "timeout", "error": "query timed out"}'), SlowError, "timed out"),
        ((500, b"[]"), RefusedError, "500"),
        ((200, b"<html>a log-in page</html>"), GarbageError, "does not answer as Prometheus"),
        ((200, b"null"), GarbageError, "does not answer as Prometheus"),
        ((200, b"[]"), GarbageError, "does not answer as Prometheus"),
        ((200, b'{"data": {}}'), GarbageError, "result"),
        ((200, b"\xff\xfe\x00"), GarbageError, "does not answer as Prometheus"),
        ((200, b"[" * 100000), GarbageError, "does not answer as Prometheus"),
        (told({"data": {"result": [{"metric": {}, "value": [NOW, "1"]}]}}), GarbageError, "mooring_namespace"),
        (told({"data": {"result": ["many"]}}), GarbageError, "not with series"),
        (told(vector(("a", "many"))), GarbageError, "many"),
        (told({**vector(), "warnings": ["store 3 does not answer"]}), GarbageError, "store 3"),
    ],
)
async def test_what_is_no_answer_is_told_with_what_was_found(
    server: StandIn, reply: Reply, error: type[PrometheusError], message: str
) -> None:
    server.answers = lambda asked: reply if "rate" in asked.params["query"] else nothing(asked)
    with pytest.raises(error, match=message) as caught:
        await look(server)
    assert server.url in str(caught.value) and len(str(caught.value)) < 1500
    assert caught.value.reason in {"PrometheusRefused", "PrometheusSlow", "PrometheusGarbage"}


async def test_a_clock_of_another_form_is_refused(server: StandIn) -> None:
    server.answers = lambda asked: told({"data": {"result": ["soon"]}})
    with pytest.raises(GarbageError, match="soon"):
        await look(server)


async def test_remarks_on_a_query_are_no_missing_part(server: StandIn) -> None:
    remark = "PromQL info: metric might not be a counter, name does not end in _total: nv_inference_count"
    server.answers = lambda asked: told(
        {**(SCALAR if asked.params["query"] == "time()" else vector()), "warnings": [remark]}
    )
    assert await look(server)


async def test_an_answer_without_end_is_not_read(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus_http, "LARGEST", 10_000)
    server.answers = lambda asked: told({**SCALAR, "more": "x" * 20_000})
    with pytest.raises(GarbageError, match=r"longer than 10000 bytes.*sample_limit.*asked time\(\)"):
        await look(server)


async def test_a_server_that_is_not_there_is_told_at_once() -> None:
    port = free_port()
    started = time.monotonic()
    with pytest.raises(UnreachableError, match="cannot be reached"):
        await look(StandIn(f"http://127.0.0.1:{port}"), timeout=10.0)
    assert time.monotonic() - started < 1.0


async def test_a_server_that_hangs_up_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            connection, _ = listener.accept()
            connection.recv(100)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(UnreachableError):
            await look(StandIn(f"http://127.0.0.1:{listener.getsockname()[1]}"))
        thread.join()


async def test_a_server_that_says_nothing_costs_only_the_time_that_a_look_may_take() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        started = time.monotonic()
        with pytest.raises(SlowError, match="has not answered"):
            await look(StandIn(f"http://127.0.0.1:{listener.getsockname()[1]}"), timeout=0.2)
        assert time.monotonic() - started < 1.0


async def test_a_server_that_sends_a_byte_now_and_then_keeps_no_thread(server: StandIn) -> None:
    server.pause = 0.05
    with pytest.raises(SlowError):
        await look(server, timeout=0.2)
    names = [thread.name for thread in threading.enumerate()]
    end = time.monotonic() + 1.0
    while any(name.startswith("prometheus") for name in names) and time.monotonic() < end:
        await asyncio.sleep(0.02)
        names = [thread.name for thread in threading.enumerate()]
    assert not any(name.startswith("prometheus") for name in names)


async def test_a_token_that_rotates_is_read_anew(
    server: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prometheus, "REMEMBER", 0.0)
    file = tmp_path / "token"
    async with Prometheus(Access(server.url, token_file=file)) as asked:
        for token in ("first", "second"):
            file.write_text(f"{token}\n")
            server.asked.clear()
            await asked.find([service()])
            assert {each.headers["Authorization"] for each in server.asked} == {f"Bearer {token}"}
        file.unlink()
        with pytest.raises(RefusedError, match="token"):
            await asked.find([service()])


async def test_neither_a_proxy_of_the_environment_nor_anybodys_netrc_is_used(
    server: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("default login somebody password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    await look(server)
    assert not any("Authorization" in each.headers for each in server.asked)


async def test_prometheus_is_asked_to_give_up_in_time_and_not_to_leave_anything_out(server: StandIn) -> None:
    await look(server, timeout=3.0)
    assert all(0.0 < float(each.params["timeout"]) <= 3.0 for each in server.asked)
    assert {each.params["partial_response"] for each in server.asked} == {"false"}


async def test_a_path_before_the_api_is_kept(server: StandIn) -> None:
    async with Prometheus(Access(f"{server.url}/prometheus/")) as asked:
        await asked.find([service()])
    assert {each.path for each in server.asked} == {"/prometheus/api/v1/query", "/prometheus/api/v1/query_range"}


async def test_an_answer_that_is_cut_off_is_none(server: StandIn) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def cut() -> None:
            connection, _ = listener.accept()
            connection.recv(1000)
            body = json.dumps(SCALAR).encode()
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(body) + 10) + body)
            connection.close()

        thread = threading.Thread(target=cut)
        thread.start()
        with pytest.raises(UnreachableError):
            await look(StandIn(f"http://127.0.0.1:{listener.getsockname()[1]}"))
        thread.join()
