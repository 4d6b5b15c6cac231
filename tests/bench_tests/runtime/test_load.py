import json

import pytest

from tests.bench.runtime import load
from tests.bench.runtime.load import LoadError

WRK = """Running 2s test @ http://127.0.0.1:8000/v2/models/tiny/infer
  1 threads and 8 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
Requests/sec:  20000.00
RESULT {"requests":41000,"seconds":2.050000,"p50":0.4000,"p99":1.2500,"failed":%d,"broken":%d}
"""
H2LOAD = """starting benchmark...
spawning thread #0: 8 total client(s). Timing-based test with 0s of warm-up time.

finished in 3.00s, 9258.33 req/s, 1.43MB/s
requests: 27775 total, 27783 started, 27775 done, %d succeeded, %d failed, 0 errored, 0 timeout
status codes: 27775 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 4.29MB (4499696) total, 1.06MB (1111080) headers (space savings 74.03%%), 2.36MB (%d) data
"""
LOG = "1\t200\t500\n2\t200\t700\n3\t200\t900\n"


def test_wrk() -> None:
    figure = load.read_wrk(WRK % (0, 0))
    assert (figure.rate, figure.p50, figure.p99) == (20_000, 0.4, 1.25)


@pytest.mark.parametrize(("failed", "broken"), [(3, 0), (0, 4)])
def test_wrk_with_failures_is_no_figure(failed: int, broken: int) -> None:
    with pytest.raises(LoadError, match=f"{failed} answers with an error and {broken} broken"):
        load.read_wrk(WRK % (failed, broken))


def test_wrk_that_only_prints_its_usage() -> None:
    with pytest.raises(LoadError, match="Usage: wrk"):
        load.read_wrk("Usage: wrk <options> <url>\n")


def test_h2load() -> None:
    figure = load.read_h2load(H2LOAD % (27775, 0, 27775 * 64), LOG, answer_bytes=64)
    assert (figure.rate, figure.p50, figure.p99) == (9258.33, 0.7, 0.9)


def test_h2load_with_failures_is_no_figure() -> None:
    with pytest.raises(LoadError, match="5 answers with an error"):
        load.read_h2load(H2LOAD % (27770, 5, 27775 * 64), LOG, answer_bytes=64)


def test_a_grpc_error_has_status_200_and_no_message() -> None:
    with pytest.raises(LoadError, match="without a message"):
        load.read_h2load(H2LOAD % (27775, 0, 27775 * 32), LOG, answer_bytes=64)


def test_open_loop() -> None:
    told = {"rate": 850.0, "p50": 11.0, "p99": 19.0, "late": 0.1, "failed": 0, "unanswered": 2}
    figure = load.read_openloop(json.dumps(told))
    assert (figure.rate, figure.p50, figure.p99, figure.late) == (850, 11, 19, 0.1)
    with pytest.raises(LoadError, match="4 answers with an error"):
        load.read_openloop(json.dumps({**told, "failed": 4}))
    with pytest.raises(LoadError, match="connection refused"):
        load.read_openloop(json.dumps({"error": "connection refused"}))
    with pytest.raises(LoadError, match="no result"):
        load.read_openloop("Traceback")


def test_a_missing_generator_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert load.missing_generator("json") == "wrk is not installed (Debian package wrk)"
    assert load.missing_generator("grpc") == "h2load is not installed (Debian package nghttp2-client)"
