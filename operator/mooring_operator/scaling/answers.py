"""What each external metric of a service says, made from what Prometheus found. Pure.

An `Answer` without a value is an error to the autoscaler, which then holds the number of replicas. That is meant: no
traffic is 0, but whoever cannot see must not say 0, for the fleet would be taken away under full load.
"""

from dataclasses import dataclass
from typing import Final

from ..api import names
from ..api.quantities import seconds
from ..facts import Service
from . import queries, slo, unseen
from .findings import Findings
from .scraping import Scraping

STALE: Final = 4
"""Scrapes after which a newest sample is too old to go by."""
RATIO_MOST: Final = 10.0
"""The most that `mooring_latency_ratio` says: beyond it only the bounds of a histogram would be told."""
PUSH_MOST: Final = 2.0
"""The most by which a latency above its target multiplies the load."""
PUSH_FROM: Final = 0.6
"""Share of the load's own target below which it is not multiplied: a latency that is high with few requests at work has
another cause than too few pods. It is 0.3 of the concurrency at the latency target, of which that target is half."""
LOAD_SECONDS: Final = 60.0
"""From a pod's creation until it serves, while neither the user nor the operator says it."""
LOAD_SECONDS_MOST: Final = 600.0
"""One pod that was stuck for long must not make the rule buy the hour's peak."""

REPLICAS_MOST: Final = 1e6
"""The most that `mooring_desired_replicas` says: whatever is measured, no cluster has more."""
UNPROVEN_MOST: Final = 0.25
"""Share of the ready pods whose arrivals may not be known in full where a fleet is made smaller; of few, one may."""
SELDOM: Final = 3
"""Scrapes of a pod that must have given a rate, unless they are too far apart for one."""

OK: Final = "OK"
NO_SERIES: Final = "NoSeries"
MISSING_SERIES: Final = "MissingSeries"
TOO_MANY_SERIES: Final = "TooManySeries"
STALE_SERIES: Final = "StaleSeries"
SCRAPED_TOO_SELDOM: Final = "ScrapedTooSeldom"
NOT_A_NUMBER: Final = "NotANumber"
LEARNING: Final = "Learning"
NOT_READY: Final = "NotReady"
NO_LATENCY_TARGET: Final = "NoLatencyTarget"
NO_CURVE: Final = "NoCurve"
TARGET_UNREACHABLE: Final = "TargetUnreachable"
FEW_REQUESTS: Final = "FewRequests"
INTERNAL_ERROR: Final = "InternalError"


@dataclass(frozen=True, slots=True)
class Answer:
    """What one external metric of one service says now.

    Attributes:
        value: finite and not negative; None: nothing can be said, and the autoscaler holds.
        time: of the newest sample that it was made from, in unix seconds; 0: there is none.
        series: pods whose series it was made from.
        reason: `OK`, or what is the matter. There may be a value all the same: it then says less than it could.
        decision: of the rule, where `mooring_desired_replicas` is its count.
    """

    metric: str
    value: float | None
    time: float
    series: int
    reason: str = OK
    message: str = ""
    decision: slo.Decision | None = None


@dataclass(frozen=True, slots=True)
class _Said:
    """An answer before it is told where it comes from."""

    value: float | None
    reason: str = OK
    message: str = ""
    decision: slo.Decision | None = None


def unanswered(reason: str, message: str) -> dict[str, Answer]:
    """Return what every metric says while Prometheus says nothing, such as after a `PrometheusError`."""
    return {metric: Answer(metric, None, 0.0, 0, reason, message) for metric in names.EXTERNAL_METRICS}


def answers(
    service: Service,
    findings: Findings,
    interval: float = 15.0,
    load_target: float | None = None,
    ready: int | None = None,
) -> dict[str, Answer]:
    """Return what each external metric of a service says, by its name.

    Args:
        service: with its targets.
        findings: what Prometheus found of it.
        interval: seconds between two scrapes.
        load_target: the `AverageValue` that `mooring_load` is held to, where one is known.
        ready: pods that are ready by the cluster's word, where that is known.
    """
    scraping = Scraping(interval)
    if (blind := _blind(service, findings, scraping, ready)) is not None:
        said = dict.fromkeys(names.EXTERNAL_METRICS, blind)
    else:
        said = {
            names.METRIC_LOAD: _load(service, findings, load_target, ready),
            names.METRIC_QUEUE_DEPTH: _queue(service, findings, ready),
            names.METRIC_LATENCY_RATIO: _ratio(service, findings),
            names.METRIC_DESIRED_REPLICAS: _desired(service, findings, scraping, ready),
        }
    return {
        metric: Answer(
            metric, each.value, findings.newest or 0.0, findings.pods, each.reason, each.message, each.decision
        )
        for metric, each in said.items()
    }


def target_of(service: Service) -> slo.Target | None:
    """Return the latency target of a service; None: it has none."""
    latency = None if service.spec.scaling is None else service.spec.scaling.latency
    return None if latency is None else slo.Target(latency.percentile, seconds(latency.target))


def capability_of(findings: Findings) -> slo.Capability | None:
    """Return what one pod can do, counted in requests; None while it has not run anything.

    The runtime measures samples, and a request may bring several: its batches hold as many fewer requests, and each of
    these takes as much longer.
    """
    limit, workers = findings.batch_limit, max(1, round(findings.workers or 1))
    places = None if findings.queue_limit is None else int(findings.queue_limit)
    if limit is None:
        return None
    if limit < 2:
        if findings.run_mean is None:
            return None
        curve = slo.Curve(findings.run_mean, 0.0)
        return slo.Capability(curve, 1, 0.0, max(0.0, findings.run_variation or 0.0), workers, places)
    if findings.curve is None:
        return None
    samples = max(1.0, findings.samples_per_request or 1.0)
    return slo.Capability(
        slo.Curve(findings.curve.fixed, findings.curve.per_sample * samples),
        max(1, int(limit / samples)),
        max(0.0, findings.batch_delay or 0.0),
        max(0.0, findings.run_variation or 0.0),
        workers,
        places,
    )


def _blind(service: Service, findings: Findings, scraping: Scraping, ready: int | None) -> _Said | None:
    labels = f'{names.METRIC_LABEL_NAMESPACE}="{service.namespace}" and {names.METRIC_LABEL_SERVICE}="{service.name}"'
    if findings.pods == 0 or findings.newest is None:
        return _Said(
            None,
            NO_SERIES,
            f"Prometheus has no series with {labels}: see that it scrapes port {names.METRICS_PORT} of the pods",
        )
    if findings.copies > 1:
        return _Said(
            None,
            TOO_MANY_SERIES,
            f"Prometheus has the series with {labels} {findings.copies} times for one pod, and sums would be as many "
            "times too high: see that one job alone scrapes it, and that only one copy of each Prometheus is asked",
        )
    age = findings.time - findings.newest
    if age > STALE * scraping.interval:
        return _Said(
            None,
            STALE_SERIES,
            f"the newest sample with {labels} is {age:.0f} s old: see that Prometheus still scrapes the service's pods",
        )
    if unseen.too_many(findings.pods, ready):
        return _Said(
            None,
            MISSING_SERIES,
            f"Prometheus has series with {labels} of {findings.pods} pods, and {ready} are ready: see that it scrapes "
            "all of them",
        )
    # Arrivals are counted where they arrive: while no pod is ready, none of them shows how much there is.
    if findings.ready == 0:
        if queries.MODEL_READY in findings.garbled:
            return _Said(None, NOT_A_NUMBER, _garbled(service, findings, queries.MODEL_READY))
        return _Said(None, NOT_READY, f"no pod of {service.name!r} is ready, so its load cannot be seen")
    return None


def _queue(service: Service, findings: Findings, ready: int | None) -> _Said:
    if findings.queued is None:
        return _without(service, findings, queries.QUEUE_DEPTH)
    queue = None if service.spec.scaling is None else service.spec.scaling.queue
    target = None if queue is None else float(queue.target)
    return _Said(unseen.total(max(0.0, findings.queued), findings.pods, ready, target))


def _load(service: Service, findings: Findings, load_target: float | None, ready: int | None) -> _Said:
    if findings.queued is None or findings.in_flight is None:
        return _without(service, findings, queries.QUEUE_DEPTH, queries.IN_FLIGHT)
    load = max(0.0, findings.queued) + max(0.0, findings.in_flight)
    concurrency = None if service.spec.scaling is None else service.spec.scaling.concurrency
    # Of two targets the stricter one: by neither may the unseen alone ask for more than is ready.
    targets = [each for each in (load_target, None if concurrency is None else float(concurrency.target)) if each]
    pushed = load * _push(service, findings, load, load_target)
    return _Said(unseen.total(pushed, findings.pods, ready, min(targets, default=None)))


def _push(service: Service, findings: Findings, load: float, load_target: float | None) -> float:
    """Return by how much a latency above its target multiplies the load, at least 1."""
    target = target_of(service)
    if target is None or capability_of(findings) is not None:
        return 1.0
    if load_target is not None and load <= PUSH_FROM * load_target * max(1, findings.ready):
        return 1.0
    ratio = _latency_ratio(findings, target)
    return 1.0 if ratio is None else min(max(ratio, 1.0), PUSH_MOST)


def _without(service: Service, findings: Findings, *series: str) -> _Said:
    """What is said where a sum is not there: what is wrong with its series, or that there are none."""
    if not findings.garbled.keys().isdisjoint(series):
        return _Said(None, NOT_A_NUMBER, _garbled(service, findings, *series))
    named = " or ".join(series)
    return _Said(None, NO_SERIES, f"the pods of {service.name!r} have no series {named}: is their runtime older?")


def _garbled(service: Service, findings: Findings, *series: str) -> str:
    """Which of some series are no numbers, where, and what to do."""
    told = "; ".join(
        f"{name} of {findings.garbled[name] or 'one of the pods, in the last scrapes,'}"
        for name in series
        if name in findings.garbled
    )
    return (
        f"Prometheus has no number (NaN, infinite, negative or a histogram) for {told} of service {service.name!r}, "
        f"and there is no sum with it: look at port {names.METRICS_PORT} ({names.PATH_METRICS}) of that pod, and "
        "delete the pod if it goes on"
    )


def _ratio(service: Service, findings: Findings) -> _Said:
    target = target_of(service)
    if target is None:
        return _no_target(service)
    ratio = _latency_ratio(findings, target)
    if ratio is None:
        return _Said(
            0.0,
            FEW_REQUESTS,
            f"{findings.answered:.0f} requests were answered in the last minute; a percentile needs {queries.FLOOR}",
        )
    return _Said(ratio)


def _latency_ratio(findings: Findings, target: slo.Target) -> float | None:
    """The percentile by its target, at most `RATIO_MOST`; None where too few requests tell it."""
    # A refused request misses its target as well. Without this a fleet that refuses nearly all of its load, and is
    # quick with the rest, would look healthy.
    seen = findings.answered + findings.refused
    if seen >= queries.FLOOR and findings.refused > (1.0 - target.percentile / 100.0) * seen:
        return RATIO_MOST
    latency = findings.latency.get(target.percentile)
    return None if latency is None else min(max(latency / target.seconds, 0.0), RATIO_MOST)


def _desired(service: Service, findings: Findings, scraping: Scraping, ready: int | None) -> _Said:
    target = target_of(service)
    if target is None:
        return _no_target(service)
    capability = capability_of(findings)
    if capability is None:
        return _without_curve(service, findings)
    if findings.rate is None and queries.RECEIVED in findings.garbled:
        return _Said(None, NOT_A_NUMBER, _garbled(service, findings, queries.RECEIVED))
    if findings.rate is None:
        return _without_rate(findings, scraping)
    load = load_seconds(service, findings)
    learned = slo.learn(findings.history, load, scraping)
    decision = slo.decide(
        slo.Signals(
            rate=max(0.0, findings.rate),
            rise=learned.rise,
            peak=learned.peak,
            queued=max(0.0, findings.queued or 0.0),
            ready=findings.ready,
            load_seconds=load,
            history_seconds=learned.seconds,
        ),
        slo.capacity(capability, target, findings.loop_seconds or 0.0),
        headroom_of(service),
        target,
        scraping,
    )
    if decision.replicas < findings.pods and _short(findings):
        return _Said(
            None,
            LEARNING,
            f"{findings.proven} of {findings.ready} ready pods were scraped for long enough to tell their arrivals",
        )
    reason, message = OK, ""
    if unreachable := slo.unreachable(capability, target):
        reason, message = TARGET_UNREACHABLE, unreachable
    elif decision.learning:
        reason = LEARNING
        message = f"{learned.seconds:.0f} s of arrivals are known: the count follows the present rate alone"
    return _Said(
        min(float(unseen.count(decision.replicas, findings.pods, ready)), REPLICAS_MOST), reason, message, decision
    )


def _without_curve(service: Service, findings: Findings) -> _Said:
    message = f"the pods of {service.name!r} have not measured yet how long their model's runs take"
    if not findings.garbled.keys().isdisjoint(queries.OF_RUNS):
        # The same reason: the load stands for the rule then, whatever the curve lacks.
        message = _garbled(service, findings, *queries.OF_RUNS)
    return _Said(None, NO_CURVE, message)


def _short(findings: Findings) -> bool:
    """Tell whether the arrivals of too many pods are not known in full: after an outage of Prometheus, or of the pods.

    An autoscaler that was blind for its whole window has forgotten what it wanted, and takes the first value that it is
    told. Made from one pod of ten, it would take nine of them away at once. A value that asks for more is told.
    """
    unknown = findings.ready - findings.proven
    return findings.proven == 0 or unknown > max(1.0, UNPROVEN_MOST * findings.ready)


def _without_rate(findings: Findings, scraping: Scraping) -> _Said:
    if findings.scrapes < SELDOM:
        return _Said(None, LEARNING, "the arrival rate is not known before Prometheus has scraped a pod twice")
    return _Said(
        None,
        SCRAPED_TOO_SELDOM,
        f"Prometheus scraped a pod {findings.scrapes} times in {scraping.counted} s, and a rate needs two in "
        f"{scraping.window:g} s: scrape each {scraping.interval:g} s, or set prometheus.scrapeSeconds of the chart to "
        "the interval that you have",
    )


def load_seconds(service: Service, findings: Findings) -> float:
    """Return the seconds from a pod's creation until it serves: the user's word, or else what the operator measured."""
    written = None if service.spec.scaling is None else service.spec.scaling.load_time
    measured = findings.load_seconds if findings.load_seconds is not None else LOAD_SECONDS
    return min(max(0.0, measured if written is None else seconds(written)), LOAD_SECONDS_MOST)


def headroom_of(service: Service) -> float:
    """Return the share of spare capacity that the user wants, such as 0.5."""
    written = None if service.spec.scaling is None else service.spec.scaling.headroom
    return 0.0 if written is None else int(written.removesuffix("%")) / 100.0


def _no_target(service: Service) -> _Said:
    return _Said(None, NO_LATENCY_TARGET, f"service {service.name!r} has no spec.scaling.latency: write one")
