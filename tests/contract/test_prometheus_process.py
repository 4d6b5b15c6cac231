"""What a real Prometheus answers about pages that the runtime wrote, and what is made of it."""

import asyncio
import math
import re
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mooring_operator.api import names
from mooring_operator.cluster import prometheus as looking
from mooring_operator.cluster.prometheus import Prometheus
from mooring_operator.cluster.prometheus_access import prometheus_of
from mooring_operator.cluster.prometheus_http import Access, SlowError, UnreachableError
from mooring_operator.facts import Key, Service
from mooring_operator.scaling import slo
from mooring_operator.scaling.answers import Answer, answers, capability_of, target_of
from mooring_operator.scaling.findings import Findings, Line
from mooring_operator.scaling.queries import arrivals, latencies, signals
from mooring_operator.scaling.reading import last_step
from mooring_operator.scaling.scraping import Scraping
from mooring_operator.settings import Settings
from mooring_runtime.metrics import Capacity
from tests.support import builders
from tests.support.prometheus_pages import CAPACITY, Replica, past, served
from tests.support.prometheus_process import Server, prometheus
from tests.support.prometheus_watch import Watch

pytestmark = [pytest.mark.process, pytest.mark.timeout(90)]

STEP = 15
METRICS_ASKED_FOR = {
    name.replace("_seconds_count", "_seconds").removesuffix("_bucket")
    for query in (*signals(Scraping()).values(), *latencies(Scraping(), {95}).values())
    for name in re.findall(r"\b(?:mooring|nv)_\w+(?=\{)", query)
}
DESIRED = names.METRIC_DESIRED_REPLICAS
EACH_SECOND = Scraping(interval=1.0)


def service(key: Key, **scaling: object) -> Service:
    wanted = {"maxReplicas": 50, "latency": {"target": "400ms"}, "loadTime": "60s", **scaling}
    return builders.service(key.name, namespace=key.namespace, scaling=wanted)


SURGING, CALM, IDLE = Key("one", "same"), Key("two", "same"), Key("one", "idle")
LATE, FEW = Key("two", "late"), Key("two", "few")
KNOWN = (SURGING, CALM, IDLE, LATE, FEW)


def surging(since: float) -> float:
    """Requests a second of one replica, by seconds since now: ten minutes low, five minutes high. It has been low for
    five minutes: were it to change about now, no rate of the last seconds would be right or wrong.
    """
    return 20.0 if (since + 300) % 900 < 600 else 60.0


class History:
    """An hour of four services, and what came of it."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.replicas = {
            "10.0.0.1:8002": Replica(*reversed(SURGING), target=0.4),
            "10.0.0.2:8002": Replica(*reversed(SURGING), target=0.4),
            "10.0.0.3:8002": Replica(*reversed(CALM), target=0.4, workers=2),
            "10.0.0.4:8002": Replica(*reversed(IDLE), target=0.4),
            "10.0.0.5:8002": Replica(*reversed(LATE), target=0.4),
            "10.0.0.6:8002": Replica(*reversed(FEW), target=0.4),
        }

    def happens(self, moment: float) -> None:
        one, two, calm, _, late, few = self.replicas.values()
        for replica in (one, two):
            replica.answer(round(surging(moment - self.now) * STEP), 0.1)
            replica.queued, replica.running = 3, 5
        calm.answer(7 * STEP, 0.3, samples=4)
        late.answer(9 * STEP, 0.1)
        late.answer(1 * STEP, 0.9)
        late.refuse(2)
        few.answer(5, 0.9)


@pytest.fixture(scope="module")
def remembering(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Prometheus that knows an hour, and two minutes that are yet to come, so that no sample grows old meanwhile."""
    now = last_step(time.time(), Scraping())
    history = History(now)
    page = past(history.replicas, METRICS_ASKED_FOR, range(now - 3705, now + 120, STEP), history.happens)
    with prometheus(tmp_path_factory.mktemp("prometheus") / "own", page) as made:
        yield made


@pytest.fixture(scope="module")
def found(remembering: Server) -> dict[Key, Findings]:
    async def look() -> dict[Key, Findings]:
        async with Prometheus(Access(remembering.url)) as asked:
            return await asked.find([service(key) for key in KNOWN])

    return asyncio.run(look())


def test_services_of_one_name_in_two_namespaces_are_two(found: dict[Key, Findings]) -> None:
    assert found[CALM].rate == pytest.approx(7.0, rel=0.01)
    assert found[SURGING].rate == pytest.approx(2 * surging(0), rel=0.01)
    assert (found[SURGING].pods, found[SURGING].ready, found[SURGING].copies) == (2, 2, 1)
    assert (found[CALM].pods, found[CALM].ready, found[CALM].workers) == (1, 1, 2.0)
    assert (found[SURGING].proven, found[CALM].proven) == (2, 1)
    assert (found[SURGING].queued, found[SURGING].in_flight) == (6.0, 10.0)
    assert (found[CALM].queued, found[CALM].in_flight) == (0.0, 0.0)


def test_what_a_pod_can_do_is_what_it_has_measured(found: dict[Key, Findings]) -> None:
    findings = found[SURGING]
    assert findings.curve == Line(0.040, 0.008)
    assert (findings.batch_limit, findings.batch_delay) == (32.0, 0.0)
    assert (findings.run_mean, findings.run_variation) == (0.1, 0.2)
    assert findings.samples_per_request == pytest.approx(1.0)
    calm = capability_of(found[CALM])
    assert calm is not None
    assert calm.curve.per_sample == pytest.approx(0.032) and calm.max_batch == 8 and calm.workers == 2


def test_the_newest_sample_is_told_by_its_own_time(found: dict[Key, Findings]) -> None:
    for findings in found.values():
        assert findings.newest is not None
        assert findings.newest % STEP == 0 and 0 <= findings.time - findings.newest < STEP


@pytest.mark.parametrize("statistic", ["max", "min", "avg", "count"])
def test_a_history_is_what_prometheus_own_subquery_goes_over(
    remembering: Server, found: dict[Key, Findings], statistic: str
) -> None:
    findings = found[SURGING]
    lag = 7
    rate = arrivals(Scraping())
    before = rate.replace("ms]", f"ms] offset {lag * STEP}s")
    rises = f"({rate} - {before})[{3600 - lag * STEP}s:{STEP}s] @ {last_step(findings.time, Scraping())}"
    (said,) = [
        float(each["value"][1])
        for each in remembering.query(f"{statistic}_over_time({rises})")
        if (each["metric"]["mooring_namespace"], each["metric"]["mooring_service"]) == SURGING
    ]
    points = findings.history
    ours = [
        late - early
        for early, late in zip(points, points[lag:], strict=False)
        if early is not None and late is not None
    ]
    summed = {"max": max(ours), "min": min(ours), "avg": sum(ours) / len(ours), "count": len(ours)}
    assert summed[statistic] == pytest.approx(said, abs=1e-6)
    assert max(ours) == pytest.approx(80.0, rel=0.02)


def test_the_count_is_that_of_the_rule_on_what_really_came(found: dict[Key, Findings]) -> None:
    answer = answers(service(SURGING), found[SURGING])[DESIRED]
    target = target_of(service(SURGING))
    assert target is not None and answer.decision is not None and answer.reason == "OK"
    pod = slo.capacity(slo.Capability(slo.Curve(0.040, 0.008), 32, 0.0, 0.2, 1, 64), target)
    assert answer.decision.capacity == pytest.approx(pod)
    # The surge comes four times an hour, so it is expected: the count is for its peak at any time.
    assert answer.decision.planned == pytest.approx(120.0, rel=0.04)
    assert answer.value == math.ceil(answer.decision.planned / pod - 0.05)


def test_no_traffic_is_nought_and_not_an_error(found: dict[Key, Findings]) -> None:
    said = answers(service(IDLE), found[IDLE])
    assert found[IDLE].rate == 0.0 and set(found[IDLE].history) == {0.0}
    assert found[IDLE].samples_per_request is None and found[IDLE].latency == {}
    assert [said[metric].value for metric in names.EXTERNAL_METRICS] == [0.0, 0.0, 0.0, 1.0]


def test_a_percentile_is_that_of_the_last_minute(found: dict[Key, Findings]) -> None:
    assert 0.05 < found[SURGING].latency[95] <= 0.1
    # One request in ten takes 0.9 s: the 95th of a hundred is in the bucket from 0.5 to 1.
    assert 0.5 < found[LATE].latency[95] <= 1.0
    ratio = answers(service(LATE), found[LATE])[names.METRIC_LATENCY_RATIO].value
    assert ratio == pytest.approx(found[LATE].latency[95] / 0.4)


def test_a_percentile_of_few_requests_is_none(found: dict[Key, Findings]) -> None:
    assert found[FEW].latency == {} and found[FEW].answered == pytest.approx(20.0, rel=0.02)
    answer = answers(service(FEW), found[FEW])[names.METRIC_LATENCY_RATIO]
    assert (answer.value, answer.reason) == (0.0, "FewRequests")


def test_refused_requests_are_arrivals_too(found: dict[Key, Findings]) -> None:
    assert found[LATE].rate == pytest.approx(10.0 + 2 / STEP, rel=0.02)
    assert found[LATE].answered == pytest.approx(600.0, rel=0.02)
    assert found[LATE].refused == pytest.approx(8.0, rel=0.02)


def test_other_percentiles_and_windows_are_taken_as_well(remembering: Server) -> None:
    async def look() -> Findings:
        wanted = service(LATE, latency={"target": "400ms", "percentile": 90})
        # With scrapes half a minute apart the window of a rate is twice as long.
        async with Prometheus(Access(remembering.url, Scraping(interval=30.0, matchers='job="models"'))) as asked:
            return (await asked.find([wanted]))[LATE]

    findings = asyncio.run(look())
    assert set(findings.latency) == {90} and findings.rate == pytest.approx(10.0 + 2 / STEP, rel=0.02)


def test_scrapes_that_are_farther_apart_than_the_settings_say_are_told(remembering: Server) -> None:
    async def look() -> Findings:
        async with Prometheus(Access(remembering.url, Scraping(interval=2.0))) as asked:
            return (await asked.find([service(CALM)]))[CALM]

    findings = asyncio.run(look())
    assert findings.rate is None and 19 <= findings.scrapes <= 21
    # As it would be if each had just been scraped.
    answer = answers(service(CALM), replace(findings, newest=findings.time), interval=2.0)[DESIRED]
    assert (answer.value, answer.reason) == (None, "ScrapedTooSeldom")


def test_only_what_matches_is_counted(remembering: Server) -> None:
    async def look() -> Findings:
        async with Prometheus(Access(remembering.url, Scraping(matchers='job="none"'))) as asked:
            return (await asked.find([service(CALM)]))[CALM]

    findings = asyncio.run(look())
    assert findings.pods == 0 and answers(service(CALM), findings)[DESIRED].reason == "NoSeries"


def watch_of(server: Server, key: Key) -> Watch:
    return Watch(server.url, service(key), EACH_SECOND)


def has_value(metric: str) -> Callable[[dict[str, Answer]], bool]:
    return lambda said: said[metric].value is not None


def reason(wanted: str) -> Callable[[dict[str, Answer]], bool]:
    return lambda said: said[DESIRED].reason == wanted


def busy(name: str, **kinds: object) -> Replica:
    """A replica that has seen much and is asked no more."""
    replica = Replica(name, "live", **kinds)  # type: ignore[arg-type]
    replica.answer(1000, 0.1)
    replica.queued, replica.running = 4, 8
    return replica


NAN = Capacity(limit=32, delay=math.nan, curve=(math.nan, math.inf), mean=math.nan, variation=math.nan, queue=64)
FRESH = CAPACITY._replace(curve=None, mean=0.0, variation=0.0)
SCRAPED = {
    "twice": [busy("twice")],
    "nan": [busy("nan", capacity=NAN)],
    "mixed": [busy("mixed"), busy("mixed", capacity=FRESH)],
    "anew": [busy("anew")],
    "odd": [busy("odd"), busy("odd")],
}
CLUSTERS = {'ea"st\\ or {': busy("split"), "west": busy("split")}
"""Of two clusters the one replica of a service, by the label that tells them apart."""
CLUSTERS["west"].queued = 70


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Prometheus that scrapes each second; it takes five to begin, so it is one for all."""
    folder = tmp_path_factory.mktemp("prometheus") / "own"
    with (
        served(*(replica for replicas in SCRAPED.values() for replica in replicas)) as addresses,
        served(*CLUSTERS.values()) as others,
    ):
        jobs: list[dict[str, Any]] = [{"targets": addresses}]
        jobs += [{"targets": [each], "labels": {"site": site}} for each, site in zip(others, CLUSTERS, strict=True)]
        with prometheus(folder, again=addresses[:1], job={"static_configs": jobs}) as made:
            yield made


def test_of_two_clusters_with_a_service_of_one_name_each_sees_its_own(server: Server) -> None:
    key = Key("live", "split")

    async def look(seconds: float = 30.0, **labels: str) -> Findings:
        end = time.monotonic() + seconds
        while True:
            # As each cluster's own settings say.
            asked = prometheus_of(Settings(prometheus_url=server.url, scrape_seconds=1.0, prometheus_labels=labels))
            assert asked is not None
            async with asked:
                findings = (await asked.find([service(key)]))[key]
            if findings.rate is not None or time.monotonic() > end:
                return findings
            await asyncio.sleep(0.1)

    for site, replica in CLUSTERS.items():
        found = asyncio.run(look(site=site))
        assert (found.pods, found.queued, found.in_flight) == (1, replica.queued, 8.0)
        assert answers(service(key), found, interval=1.0)[names.METRIC_QUEUE_DEPTH].value == replica.queued
    # As if they were one.
    assert asyncio.run(look()).queued == sum(replica.queued for replica in CLUSTERS.values())
    assert asyncio.run(look(0.0, site="no such")).pods == 0


def test_two_jobs_that_scrape_one_pod_are_told_and_not_added_up(server: Server) -> None:
    watch = watch_of(server, Key("live", "twice"))
    said = watch.until(reason("TooManySeries"))
    assert {each[names.METRIC_LOAD].value for each in watch.said} <= {None, 12.0}
    assert all(answer.value is None and "2 times" in answer.message for answer in said.values())


def test_a_page_with_what_is_no_number_is_one_without_it(server: Server) -> None:
    said = watch_of(server, Key("live", "nan")).until(has_value(names.METRIC_LOAD))
    assert said[DESIRED].reason == "NoCurve" and said[names.METRIC_LOAD].value == 12.0
    assert "mooring_batch_curve_seconds of 127.0.0.1:" in said[DESIRED].message


def test_a_counter_that_is_no_number_is_told_with_its_pod_and_then_without(server: Server) -> None:
    watch = watch_of(server, Key("live", "odd"))
    watch.until(has_value(DESIRED))
    one, _ = SCRAPED["odd"]
    one.stats.received = math.nan  # type: ignore[assignment]
    one.queued = math.inf  # type: ignore[assignment]
    said = watch.until(reason("NotANumber"))
    assert "mooring_requests_received_total of 127.0.0.1:" in said[DESIRED].message
    for metric in (names.METRIC_LOAD, names.METRIC_QUEUE_DEPTH):
        assert said[metric].reason == "NotANumber" and "mooring_queue_depth of 127.0.0.1:" in said[metric].message
    assert "," not in said[DESIRED].message.split("delete")[0].split(" of service")[0].split(") for ")[1]
    one.stats.received = 9
    one.queued = 4
    # Until the window of the rate has passed.
    watch.until(lambda said: "of one of the pods" in said[DESIRED].message)
    watch.until(has_value(DESIRED))


def test_a_pod_without_numbers_does_not_hide_those_of_another(server: Server) -> None:
    watch = watch_of(server, Key("live", "mixed"))
    said = watch.until(lambda said: said[DESIRED].series == 2 and said[DESIRED].value is not None)
    assert said[DESIRED].decision is not None


def test_a_process_that_starts_anew_is_no_surge(server: Server) -> None:
    watch = watch_of(server, Key("live", "anew"))
    watch.until(has_value(DESIRED))
    (replica,) = SCRAPED["anew"]
    replica.stats.received = 3
    end = time.monotonic() + 4.0  # as long as it is within the window of the rate
    watch.until(lambda _: time.monotonic() > end)
    planned = [decision.planned for each in watch.said if (decision := each[DESIRED].decision) is not None]
    assert 0.0 < max(planned) < 10.0


def test_pods_that_are_gone_and_a_prometheus_that_forgot_are_no_service_without_load(tmp_path: Path) -> None:
    key = Key("live", "gone")
    learning = [("NoSeries", False), ("Learning", False), ("Learning", True)]
    with served(replica := busy("gone")) as addresses, prometheus(tmp_path / "own", targets=addresses) as server:
        watch = watch_of(server, key)
        watch.until(has_value(DESIRED))
        assert watch.phases(DESIRED) == learning
        server.stop(forget=True)
        server.start()
        again = watch_of(server, key)
        again.until(has_value(DESIRED))
        assert again.phases(DESIRED) == learning
        # The load needs no history: one scrape tells it.
        assert {each[names.METRIC_LOAD].value for each in (*watch.said, *again.said)} == {None, 12.0}
        replica.alive = False
        last = watch_of(server, key)
        last.until(reason("NoSeries"))
        assert {each[names.METRIC_LOAD].value for each in last.said} <= {None, 12.0}


def test_a_prometheus_that_is_gone_or_stands_still_is_told_and_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "REMEMBER", 0.0)

    async def play(server: Server) -> None:
        async with Prometheus(Access(server.url, EACH_SECOND, timeout=1.0)) as asked:
            assert CALM in await asked.find([service(CALM)])
            server.signal(signal.SIGSTOP)
            with pytest.raises(SlowError):
                await asked.find([service(CALM)])
            server.signal(signal.SIGCONT)
            assert CALM in await asked.find([service(CALM)])
            server.stop()
            with pytest.raises(UnreachableError):
                await asked.find([service(CALM)])
            server.start()
            assert CALM in await asked.find([service(CALM)])

    with prometheus(tmp_path / "own") as made:
        asyncio.run(play(made))
