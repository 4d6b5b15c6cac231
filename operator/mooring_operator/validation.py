"""What is wrong with a service, in words that say the field, what was found and what to do. Pure.

The schema and its CEL rules refuse a bad spec before it is stored. The same models judge here again, because a
cluster may hold objects that an older, looser CRD let in; and `check` judges what only the loop can see. Nothing
here repeats a value that may be a secret.
"""

import difflib
import json
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from .api import accelerators, crd, names, variants
from .api.quantities import quantity
from .api.rules import BROKEN, Broken
from .api.v1alpha1 import InferenceServiceSpec, Scaling, parse
from .facts import Cluster, Key, Manifest, ObjectKey, Observed, Problem, Service
from .scaling.rule import obstacle

Path = tuple[str | int, ...]
"""Keys and indices from the root of the object, as pydantic gives them."""

_WORDS: Final[Mapping[str, str]] = {
    "missing": "is missing: set it",
    "string_type": "write a string (in quotes, if it looks like a number)",
    "int_type": "write an integer",
    "bool_type": "write true or false",
    "list_type": "write a list",
    "dict_type": "write a map",
    "model_type": "write an object",
    "literal_error": "write one of {expected}",
    "greater_than_equal": "write at least {ge}",
    "less_than_equal": "write at most {le}",
    "string_too_short": "write at least {min_length} character",
    "string_too_long": "write at most {max_length} characters",
    "too_short": "write at least {min_length} item, or leave the field out",
    "too_long": "write at most {max_length} items",
}
"""What to do, by the type of pydantic's error. An error of our own brings its own words."""
_SECRET: Final = re.compile(r"spec\.runtime\.(env\[[0-9]+\]\.value|args)|spec\.pod\.annotations\b")
_USER: Final = re.compile(r"(://)[^/?]*@")
_QUERY: Final = re.compile(r"(://[^?]*[?]).*", re.DOTALL)
_SHOWN_LENGTH: Final = 60


class NotBuilt(NamedTuple):
    """A field whose part of Mooring does not exist yet."""

    field: str
    asked: Callable[[Any], bool]
    remedy: str


_NOT_BUILT: Final = (
    NotBuilt(
        "spec.model.uri",
        lambda spec: spec.model.uri.startswith(("s3://", "gs://", "hf://")),
        "models cannot be fetched from s3://, gs:// or hf:// yet. Use oci://, pvc:// or https://",
    ),
)


def parse_service(obj: Mapping[str, Any]) -> Service | list[Problem]:
    """Return a live or written object as a service, or everything that is wrong with it."""
    problems = [
        Problem(field, f"found {_shown(field, obj[field])}: write {wanted}")
        for field, wanted in (("apiVersion", names.API_VERSION), ("kind", names.KIND))
        if obj.get(field, wanted) != wanted
    ]
    if problems:
        return problems
    try:
        spec = parse(obj).spec
    except ValidationError as error:
        return [problem for details in error.errors(include_url=False) for problem in _problems(details)]
    metadata = obj["metadata"]
    return Service(
        namespace=metadata.get("namespace", "default"),
        name=metadata["name"],
        uid=metadata.get("uid", ""),
        generation=metadata.get("generation", 1),
        spec=spec,
    )


class Seen(NamedTuple):
    """One InferenceService as last seen."""

    uid: str
    generation: int
    service: Service | None
    """None: its spec cannot be read."""
    problem: str
    """Why not."""


class Parsed:
    """Services as they were last seen. A spec is read only when it has changed, for the status does so all the time."""

    def __init__(self) -> None:
        self._seen: dict[Key, Seen] = {}

    def look(self, live: Manifest) -> Seen:
        """Return a live InferenceService as parsed."""
        meta = live["metadata"]
        key = Key(meta["namespace"], meta["name"])
        known = self._seen.get(key)
        if known is None or (known.uid, known.generation) != (meta["uid"], meta["generation"]):
            parsed = parse_service(live)
            known = Seen(meta["uid"], meta["generation"], None, "")
            if isinstance(parsed, Service):
                known = known._replace(service=parsed)
            else:
                known = known._replace(problem="; ".join(f"{each.field}: {each.message}" for each in parsed))
            self._seen[key] = known
        return known

    def keep(self, keys: Collection[Key]) -> None:
        """Forget every other service."""
        self._seen = {key: seen for key, seen in self._seen.items() if key in keys}


def check(service: Service, observed: Observed, cluster: Cluster) -> list[Problem]:
    """Return what only the loop can see: classes, names and images that the cluster does or does not have."""
    return [
        *_missing_classes(observed),
        *_foreign_children(service, observed),
        *_missing_image(service, cluster),
        *_accelerator(service, cluster),
        *_state(service, observed, cluster),
    ]


def not_built(spec: InferenceServiceSpec) -> list[Problem]:
    """Return the fields that nothing acts on yet. Each stops the service: no field is silently ignored."""
    return [
        Problem(entry.field, f"not built yet: {entry.remedy}", "NotBuiltYet")
        for entry in _NOT_BUILT
        if entry.asked(spec)
    ]


def check_scaling(scaling: Scaling | None, cluster: Cluster) -> list[Problem]:
    """Return what keeps the autoscaler from its work here. It never stops the service itself."""
    if scaling is None:
        return []
    found = obstacle(scaling, cluster)
    return [*([] if found is None else [found]), *_tolerance(scaling, cluster)]


def _tolerance(scaling: Scaling, cluster: Cluster) -> list[Problem]:
    behavior = scaling.behavior
    if behavior is None or cluster.hpa_tolerance:
        return []
    message = "this cluster's autoscaler takes no tolerance (it came with Kubernetes 1.37): remove it"
    return [
        Problem(f"spec.scaling.behavior.{direction}.tolerance", message, "Unsupported")
        for direction, rules in (("scaleUp", behavior.scale_up), ("scaleDown", behavior.scale_down))
        if rules is not None and rules.tolerance is not None
    ]


def _missing_classes(observed: Observed) -> list[Problem]:
    return [
        Problem(
            missing.field,
            f"the cluster has no {missing.kind} {missing.name!r}: make it, name another one or remove the field",
            f"{missing.kind}NotFound",
        )
        for missing in observed.missing
    ]


def _foreign_children(service: Service, observed: Observed) -> list[Problem]:
    return [Problem.name_taken(service, key, owner) for key, owner in sorted(observed.foreign.items())]


def _missing_image(service: Service, cluster: Cluster) -> list[Problem]:
    chosen, runtime, accelerator = variants.variant(service.spec), service.spec.runtime, service.spec.accelerator
    if runtime.image is not None:
        return []
    if runtime.variant is None and accelerator is not None and not accelerators.runs_cuda(accelerator):
        asked = accelerator.type or accelerator.device_class
        message = f"Mooring's images hold NVIDIA's libraries, which {asked} cannot run: name an image of your own"
        return [Problem("spec.runtime.image", message, "ImageNotConfigured")]
    if chosen in cluster.images.by_variant:
        return []
    return [
        Problem(
            "spec.runtime.variant",
            f"this installation has no image for variant {chosen}: "
            "set runtime.images in the chart's values, or name an image in spec.runtime.image",
            "ImageNotConfigured",
        )
    ]


def _accelerator(service: Service, cluster: Cluster) -> list[Problem]:
    accelerator = service.spec.accelerator
    if accelerator is None:
        return []
    problems = [Problem(found.field, found.message, "Unsupported") for found in accelerators.unsupported(accelerator)]
    if accelerator.device_class is not None and not cluster.dra:
        message = "this cluster does not serve resource.k8s.io/v1 (Dynamic Resource Allocation): use type instead"
        problems.append(Problem("spec.accelerator.deviceClass", message, "Unsupported"))
    return problems


def _state(service: Service, observed: Observed, cluster: Cluster) -> list[Problem]:
    """Return what a cluster may hold that a looser definition let in, and what a stateful service lacks here."""
    stateful = service.spec.state is not None
    other = ObjectKey("Deployment" if stateful else "StatefulSet", service.name)
    if other in observed.children:
        made, remedy = ("without", "remove it") if stateful else ("with", "write it again")
        message = (
            f"the service was made {made} sessions (it has a {other.kind}), for life: {remedy}, make a new service "
            "under another name and move the clients"
        )
        return [Problem("spec.state", message)]
    if service.spec.state is None:
        return []
    if not cluster.peer_key:
        message = "this installation has no key for peer tokens: install it by its chart, or set MOORING_PEER_KEY_FILE"
        return [Problem("spec.state", message, "PeerKeyMissing")]
    return _shrunk(service.spec.state.volume.size, observed.children.get(ObjectKey("StatefulSet", service.name)))


def _shrunk(wanted: int | str, live: Manifest | None) -> list[Problem]:
    for template in (live or {"spec": {}})["spec"].get("volumeClaimTemplates") or ():
        standing = template["spec"].get("resources", {}).get("requests", {}).get("storage", wanted)
        if template["metadata"]["name"] == names.CLAIM_SESSIONS and quantity(wanted) < quantity(standing):
            return [
                Problem("spec.state.volume.size", f'found "{wanted}": a volume can only grow: it is {standing} now')
            ]
    return []


def _problems(details: Mapping[str, Any]) -> list[Problem]:
    """Return the problems that one error of pydantic stands for."""
    path, found, context = details["loc"], details["input"], details.get("ctx", {})
    field = _field(path)
    if details["type"] == BROKEN:
        broken: tuple[Broken, ...] = context["broken"]
        return [Problem((field + rule.path).removeprefix("."), _said(field, found, rule.message)) for rule in broken]
    if details["type"] == "extra_forbidden":
        return [Problem(field, _unknown(path))]
    if details["type"] == "missing":
        return [Problem(field, _WORDS["missing"])]
    words = _WORDS.get(details["type"])
    advice = details["msg"] if words is None else words.format_map(context)
    return [Problem(field, _said(field, found, advice))]


def _field(path: Path) -> str:
    """Return the API server's way to write a path: `spec.runtime.env[0].name`, `spec.pod.labels[team]`."""
    text = ""
    for depth, part in enumerate(path):
        in_brackets = isinstance(part, int) or "additionalProperties" in _schema_of(path[:depth])
        text += f"[{part}]" if in_brackets else f".{part}"
    return text.removeprefix(".")


def _schema_of(path: Path) -> Mapping[str, Any]:
    """Return the schema of what stands at a path, empty for what is not in the schema."""
    node: Mapping[str, Any] = crd.schema()
    for part in path:
        below = node.get("items") if isinstance(part, int) else node.get("additionalProperties")
        node = below or node.get("properties", {}).get(part, {})
    return node


def _said(field: str, found: object, advice: str) -> str:
    """Return the advice with the value before it, where the value is one word and no secret."""
    return f"found {_shown(field, found)}: {advice}" if not isinstance(found, (dict, list)) else advice


def _shown(field: str, value: object) -> str:
    if _SECRET.match(field):
        return "a value that is not shown"
    if isinstance(value, str):
        # A URI may hold what nobody else should read: a user name with a password, a signed query.
        value = _QUERY.sub(r"\1***", _USER.sub(r"\1***@", value))
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN_LENGTH else f"{text[:_SHOWN_LENGTH]}... ({len(text)} characters)"


def _unknown(path: Path) -> str:
    known = list(_schema_of(path[:-1])["properties"])
    close = difflib.get_close_matches(str(path[-1]), known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
    return f"no such field: {hint}"
