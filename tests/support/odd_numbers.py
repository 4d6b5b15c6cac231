"""Services on a Prometheus of whose numbers one makes no sense: for all who must go on telling the others."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mooring_operator.api import names
from mooring_operator.facts import Manifest, Service
from mooring_operator.scaling.answers import Answer, answers
from mooring_operator.scaling.findings import Findings
from tests.support import builders
from tests.support.prometheus_stand_in import NOW, Asked, Reply, StandIn, nothing, stand_in, told

NAMESPACE = builders.NAMESPACE
SCALING = {"maxReplicas": 9, "concurrency": {"target": 4}}
_PODS = f"count by ({names.METRIC_LABEL_NAMESPACE}, {names.METRIC_LABEL_SERVICE})"
_SUMS = f"sum by ({names.METRIC_LABEL_NAMESPACE}, {names.METRIC_LABEL_SERVICE})"


def live(name: str, version: int = 1, **status: Any) -> Manifest:
    """An InferenceService as the API server gives it."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {
            "namespace": NAMESPACE,
            "name": name,
            "uid": f"uid-{name}",
            "generation": 1,
            "resourceVersion": str(version),
        },
        "spec": {"model": {"uri": "pvc://models/model.onnx"}, "scaling": SCALING},
        "status": status,
    }


def answers_but_for(odd: str) -> Callable[..., dict[str, Answer]]:
    """Return `answers` with numbers of one service that nobody has thought of."""

    def told(service: Service, findings: Findings, *arguments: Any) -> dict[str, Answer]:
        if service.name == odd:
            raise ZeroDivisionError("float division by zero")
        return answers(service, findings, *arguments)

    return told


@contextmanager
def prometheus() -> Iterator[StandIn]:
    """One that has seen one pod each of `even` and `odd`, with three requests that run."""

    def answer(asked: Asked) -> Reply:
        query = asked.params["query"]
        if "timestamp(" in query:
            return told(_vector(str(NOW)))
        if "mooring_in_flight" in query and "unless" not in query:
            return told(_vector("3"))
        if "mooring_queue_depth" in query and "unless" not in query:
            return told(_vector("0"))
        if query.startswith(_PODS) or ("mooring_model_ready" in query and query.startswith(_SUMS)):
            return told(_vector("1"))
        return nothing(asked)

    with stand_in(answer) as made:
        yield made


def _vector(text: str) -> dict[str, Any]:
    labels = [
        {names.METRIC_LABEL_NAMESPACE: NAMESPACE, names.METRIC_LABEL_SERVICE: service} for service in ("even", "odd")
    ]
    series = [{"metric": each, "value": [NOW, text]} for each in labels]
    return {"status": "success", "data": {"resultType": "vector", "result": series}}
