"""Which fields of a live object are ours: pure, from `metadata.managedFields`.

The API server takes a field from its manager as soon as someone else gives it another value. So "we still own every
field of the manifest" says "nobody has changed what we wrote", exactly: it needs no memory of our last write, survives
a restart of the operator, and is not misled by defaults, by quantities that the server writes in another form, or by
labels and containers that others have added.
"""

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from ..api import names
from ..facts import Manifest

_NOT_OWNED = frozenset({"apiVersion", "kind", "name", "namespace"})
"""The identity of an object; the server keeps no ownership of it."""


def fields_of(manifest: Manifest, manager: str) -> dict[str, Any]:
    """Return the fields (`fieldsV1`) that a manager applied to an object; empty when it applied none."""
    for entry in manifest["metadata"].get("managedFields") or ():
        if entry["manager"] == manager and entry["operation"] == "Apply" and not entry.get("subresource"):
            fields: dict[str, Any] = entry.get("fieldsV1") or {}
            return fields
    return {}


def managers_of(manifest: Manifest, path: Iterable[str]) -> frozenset[str]:
    """Return who owns a field, such as ("spec", "replicas")."""
    path = [f"f:{part}" for part in path]
    found = set()
    for entry in manifest["metadata"].get("managedFields") or ():
        fields: Any = entry.get("fieldsV1") or {}
        for part in path:
            fields = fields.get(part) if fields is not None else None
        if fields is not None:
            found.add(entry["manager"])
    return frozenset(found)


def scaled_by(service: Manifest) -> str:
    """Return the manager that last wrote `spec.replicas` of a service through /scale; empty when it was not so written.

    A write in another way takes the field from that manager, unless it brings the value that stands there. While nobody
    owns the field, the API server notes no writer of /scale at all (seen on 1.37): it is the autoscaler's then, or
    still the default.
    """
    owning = [
        entry
        for entry in service["metadata"].get("managedFields") or ()
        if "f:replicas" in (entry.get("fieldsV1") or {}).get("f:spec", {})
    ]
    if not owning:
        return names.AUTOSCALER_FIELD_MANAGER
    writers = [entry for entry in owning if entry.get("subresource") == "scale"]
    return max(writers, key=lambda entry: str(entry.get("time", "")))["manager"] if writers else ""


def owns(manifest: Manifest, fields: dict[str, Any]) -> bool:
    """Tell whether `fields` hold every field that the manifest sets."""
    meta = {key: value for key, value in manifest["metadata"].items() if key not in _NOT_OWNED}
    body = {key: value for key, value in manifest.items() if key not in _NOT_OWNED and key != "metadata"}
    return bool(fields) and _owns(meta, fields.get("f:metadata", {"": {}})) and _owns(body, fields)


def controller_of(manifest: Manifest) -> Manifest:
    """Return the owner reference of an object's controller; empty when it has none."""
    for reference in manifest["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            found: Manifest = reference
            return found
    return {}


def whose(manifest: Manifest, service_uid: str) -> str:
    """Return, in words, whose an object is; empty when the service with this uid controls it."""
    controller = controller_of(manifest)
    if not controller:
        return "nobody (it has no controller)"
    return "" if controller["uid"] == service_uid else f"{controller['kind']} {controller['name']}"


def digest(manifest: Manifest) -> str:
    """Return 16 hexadecimal digits that change with the manifest."""
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _owns(wanted: Any, fields: dict[str, Any]) -> bool:
    if not fields:
        return True  # a scalar, or a map or list that is owned as a whole
    if isinstance(wanted, dict):
        return all(_owns_member(value, fields.get(f"f:{key}")) for key, value in wanted.items())
    if isinstance(wanted, list):
        keys = [(json.loads(key[2:]), below) for key, below in fields.items() if key.startswith("k:")]
        return all(_owns_item(item, keys, fields) for item in wanted)
    return False


def _owns_member(value: Any, fields: dict[str, Any] | None) -> bool:
    # The server drops a null from what is applied; every other value, also an empty one, is owned.
    return value is None or (fields is not None and _owns(value, fields))


def _owns_item(item: Any, keys: list[tuple[dict[str, Any], dict[str, Any]]], fields: dict[str, Any]) -> bool:
    if not isinstance(item, dict):
        return f"v:{json.dumps(item)}" in fields
    for key, below in keys:
        # A key that the manifest leaves out, such as a port's protocol, was defaulted by the server.
        if all(item.get(name, value) == value for name, value in key.items()):
            return _owns(item, below)
    return False
