"""The CRD, made of the models: pydantic's JSON schema becomes a structural schema of apiextensions v1.

A keyword that this translation does not know is an error, never a guess: the API server would prune or ignore it, and
a check that people rely on would silently be gone.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import yaml
from pydantic import BaseModel

from . import names
from .rules import VALIDATIONS
from .v1alpha1 import InferenceService, InferenceServiceStatus

Schema = dict[str, Any]

_CARRIED: Final = (
    "description",
    "type",
    "format",
    "enum",
    "default",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "maxProperties",
    "required",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    VALIDATIONS,
)
"""What both dialects say in the same way, in the order in which it is written."""
_TRANSLATED: Final = frozenset({"$ref", "anyOf", "const", "properties", "additionalProperties", "items"})
_RULE: Final = ("rule", "message", "messageExpression", "fieldPath")
_DROPPED: Final = frozenset({"title"})
_TYPE_META: Final = {
    "apiVersion": {"type": "string", "description": f"Version of this kind of object: {names.API_VERSION}."},
    "kind": {"type": "string", "description": f"Kind of this object: {names.KIND}."},
    # Named so that the rule about it can point to it; the API server allows nothing more here.
    "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
}


class UntranslatableError(Exception):
    """A model says something that a structural schema cannot say."""


def structural(model: type[BaseModel]) -> Schema:
    """Return the structural schema of a model. Raises `UntranslatableError`."""
    source = model.model_json_schema(by_alias=True)
    return _translate(source, source.get("$defs", {}), model.__name__)


@cache
def schema() -> Schema:
    """Return the whole `openAPIV3Schema` of an InferenceService. Callers must not change it."""
    root = structural(InferenceService)
    return {
        "description": root["description"],
        "type": "object",
        "properties": {
            **_TYPE_META,
            "spec": root["properties"]["spec"],
            "status": structural(InferenceServiceStatus),
        },
        "required": ["spec"],
        VALIDATIONS: root[VALIDATIONS],
    }


def definition() -> dict[str, Any]:
    """Return the CustomResourceDefinition."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names.PLURAL}.{names.GROUP}"},
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": names.KIND,
                "listKind": f"{names.KIND}List",
                "plural": names.PLURAL,
                "singular": names.SINGULAR,
                "shortNames": list(names.SHORT_NAMES),
                "categories": list(names.CATEGORIES),
            },
            "versions": [
                {
                    "name": names.VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {
                        "status": {},
                        "scale": {
                            "specReplicasPath": ".spec.replicas",
                            "statusReplicasPath": ".status.replicas",
                            "labelSelectorPath": ".status.selector",
                        },
                    },
                    "additionalPrinterColumns": [
                        _column(
                            "Ready", '.status.conditions[?(@.type=="Ready")].status', "The spec as it stands serves"
                        ),
                        _column("Reason", '.status.conditions[?(@.type=="Ready")].reason', "Why, in one word"),
                        _column("Replicas", ".status.replicas", "Pods that exist", kind="integer"),
                        _column("Model", ".spec.model.uri", "Where the model is", priority=1),
                        _column("URL", ".status.url", "Address inside the cluster"),
                        _column("Age", ".metadata.creationTimestamp", "Time since it was made", kind="date"),
                    ],
                    "schema": {"openAPIV3Schema": schema()},
                }
            ],
        },
    }


def render() -> str:
    """Return the definition as YAML, the same on each call."""
    return "# Generated from the API models: change them and run `make crds`.\n" + _dump(definition())


def render_chart() -> str:
    """Return the definition as a template of the chart."""
    return template(definition())


def template(document: Mapping[str, Any]) -> str:
    """Return a definition as a template of the chart: optional, and kept when the release is uninstalled."""
    metadata = {**document["metadata"], "annotations": {"helm.sh/resource-policy": "keep"}}
    body = _dump({**document, "metadata": metadata}).replace("{{", '{{ "{{" }}')
    return (
        "{{- /* Generated from the API models: change them and run `make crds`. */}}\n"
        f"{{{{- if .Values.crds.install }}}}\n{body}{{{{- end }}}}\n"
    )


def _column(name: str, path: str, description: str, *, kind: str = "string", priority: int = 0) -> dict[str, Any]:
    column = {"name": name, "type": kind, "description": description, "jsonPath": path}
    return column | {"priority": priority} if priority else column


def _dump(document: Mapping[str, Any]) -> str:
    return yaml.dump(document, Dumper=_NoAliases, sort_keys=False, width=120, allow_unicode=True)


class _NoAliases(yaml.SafeDumper):
    """Writes shared parts out each time: anchors are hard to read, and not every tool takes them."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _translate(node: Schema, defs: Mapping[str, Schema], where: str) -> Schema:
    """Return `node` and all below it as a structural schema; `where` is the path that an error names."""
    node = _resolved(node, defs, where)
    unknown = node.keys() - set(_CARRIED) - _TRANSLATED - _DROPPED - {"$defs"}
    if unknown:
        raise UntranslatableError(f"{where}: a structural schema cannot say {', '.join(sorted(unknown))}")
    if "const" in node:
        node["enum"] = [node["const"]]
    default = _default(node.pop("default", None))
    if default is not None:
        node["default"] = default
    found: Schema = {keyword: node[keyword] for keyword in _CARRIED if keyword in node}
    if VALIDATIONS in found:  # pydantic sorts every object that it writes; a rule reads better in its own order
        found[VALIDATIONS] = [{key: rule[key] for key in _RULE if key in rule} for rule in found[VALIDATIONS]]
    if "type" not in found and not found.get("x-kubernetes-int-or-string"):
        raise UntranslatableError(f"{where}: a structural schema needs one type, found none")
    if "properties" in node:
        found["properties"] = {
            name: _translate(item, defs, f"{where}.{name}") for name, item in node["properties"].items()
        }
    values = node.get("additionalProperties", False)
    if values is True:
        raise UntranslatableError(f"{where}: free-form objects are not allowed, name the fields")
    if values is not False:
        found["additionalProperties"] = _translate(values, defs, f"{where}[*]")
    if found.get("type") == "array":
        found.setdefault("x-kubernetes-list-type", "atomic")
        found["items"] = _translate(node["items"], defs, f"{where}[*]")
    return found


def _resolved(node: Schema, defs: Mapping[str, Schema], where: str) -> Schema:
    """Return a copy without `$ref` and `anyOf`; what stands beside them wins over what they bring."""
    if "$ref" in node:
        inner = _resolved(defs[node["$ref"].removeprefix("#/$defs/")], defs, where)
    elif "anyOf" in node:
        members = [member for member in node["anyOf"] if member != {"type": "null"}]
        if len(members) != 1:
            raise UntranslatableError(f"{where}: a field has one type, found {len(members)}")
        inner = _resolved(members[0], defs, where)
    else:
        return dict(node)
    beside = {keyword: value for keyword, value in node.items() if keyword not in {"$ref", "anyOf"}}
    rules = inner.get(VALIDATIONS, []) + beside.get(VALIDATIONS, [])
    return {**inner, **beside, **({VALIDATIONS: rules} if rules else {})}


def _default(value: Any) -> Any:
    """Return a default as it is written out, or None where there is nothing to write.

    An object's default names the defaults of its fields, because a rule above it may read them: an empty one is
    refused there. An object without any is left out, so that it does not appear in what the user wrote.
    """
    if isinstance(value, dict):
        return {key: inner for key, item in value.items() if (inner := _default(item)) is not None} or None
    return value
