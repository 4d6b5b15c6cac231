"""Our own view of the cluster: each kind listed first, then fed by events.

Not a kopf index: that keeps ghosts after an API-server restart (what was deleted meanwhile gets no event) and starts
quadratically. Here an older resourceVersion never replaces a newer one, what was deleted stays deleted when a late
answer of our own write arrives, and `sweep` finds what went without a word.
"""

import time
from collections.abc import Iterable
from typing import TypeVar

from .. import metrics
from ..api import names
from ..facts import Key, Manifest, ObjectKey
from . import kinds
from .echoes import Echoes
from .errors import NotFoundError
from .kinds import Kind
from .kube import Kube
from .slim import Entry, entry_of

K = TypeVar("K")
V = TypeVar("V")
Place = tuple[str, str]
"""Namespace (empty for what has none) and name."""


class Cache:
    """The objects of all watched kinds. What it returns is shared: treat it as read-only."""

    def __init__(self) -> None:
        self.ready = False
        """Every kind was listed once."""
        self.foreign: dict[str, dict[ObjectKey, str]] = {}
        """By uid of the service: objects with the name of a child that are not ours, and whose they are."""
        self.verified: dict[str, tuple[str, int]] = {}
        """By uid of the child: digest of the manifest and hash of the fields that were found to be all ours."""
        self.echoes = Echoes()
        """What the watches are about to say once more."""
        self._entries: dict[Kind, dict[Place, Entry]] = {}
        self._owned: dict[str, set[tuple[Kind, Place]]] = {}
        self._labelled: dict[tuple[Kind, Key], set[Place]] = {}
        self._gone: dict[Kind, dict[str, int]] = {}
        self._confirmed: dict[str, float] = {}

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds that were listed."""
        return tuple(self._entries)

    def begin(self, wanted: Iterable[Kind]) -> None:
        """Forget everything, and take in objects of these kinds from now on."""
        self._entries = {kind: {} for kind in wanted}
        self._owned, self._labelled, self._gone = {}, {}, {}

    async def fill(self, kube: Kube, wanted: Iterable[Kind]) -> None:
        """List every kind that the API server has. Raises `KubeError`, also when a kind that is needed is missing."""
        self.begin(wanted)
        for kind in self.kinds:
            try:
                async for page in kube.pages(kind, selector_of(kind)):
                    for item in page:
                        self.put(kind, item)
            except NotFoundError:
                if kind not in kinds.OPTIONAL:
                    raise
                del self._entries[kind]
        self.ready = True
        metrics.LAST_RESYNC.set_to_current_time()

    async def sweep(self, kube: Kube, kind: Kind) -> set[Key]:
        """Drop what is gone without a word; return the services concerned. Costs one list of metadata."""
        before = dict(self._entries[kind])
        live = {
            _place(item): item["metadata"]["uid"]
            async for page in kube.pages(kind, selector_of(kind), metadata_only=True)
            for item in page
        }
        touched = set()
        for place, entry in before.items():
            # Only what stood in the cache before the list was asked for and has not changed since: what was made
            # after it is rightly missing from it.
            if live.get(place) != entry.uid and self._entries[kind].get(place) is entry:
                self._remove(kind, place)
                metrics.GHOSTS_DROPPED.labels(kind.kind).inc()
                touched.add(key_of(kind, entry.manifest))
        self._gone.pop(kind, None)
        return {key for key in touched if key is not None}

    def feed(self, kind: Kind, gone: bool, obj: Manifest) -> Key | None:
        """Take in a watch event; return the service that should look at it, or None when it says nothing new."""
        if kind not in self._entries:
            return None
        if gone:
            return key_of(kind, obj) if self.drop(kind, obj) else None
        before = self._entries[kind].get(_place(obj))
        if not self.put(kind, obj):
            return None
        if before is not None and _says_the_same(kind, before, self._entries[kind][_place(obj)]):
            return None
        return key_of(kind, obj)

    def keep(self, kind: Kind, answer: Manifest) -> None:
        """Take in the answer to a write of ours."""
        self.put(kind, answer)
        self.echoes.expect(kind, answer["metadata"]["resourceVersion"])

    def put(self, kind: Kind, obj: Manifest) -> bool:
        """Take in an object as the API server gave it; return False for one that is not newer than what is known."""
        place, meta = _place(obj), obj["metadata"]
        version = int(meta["resourceVersion"])
        if self._gone.get(kind, {}).get(meta["uid"], 0) > version:
            return False
        known = self._entries[kind].get(place)
        if known is not None and known.version >= version:
            return False
        entry = entry_of(kind, obj)
        if known is not None and known.uid == entry.uid:
            self._unlink(kind, place)
        elif known is not None:
            self._remove(kind, place)
        self._link(kind, place, entry)
        if kind is kinds.INFERENCE_SERVICE:
            self.confirm(entry.uid)
        metrics.CACHED_OBJECTS.labels(kind.kind).set(len(self._entries[kind]))
        return True

    def drop(self, kind: Kind, obj: Manifest) -> bool:
        """Forget an object that was deleted, or that lost our label; return False when a newer one is known."""
        place, meta = _place(obj), obj["metadata"]
        version = int(meta["resourceVersion"])
        self._gone.setdefault(kind, {})[meta["uid"]] = version
        known = self._entries[kind].get(place)
        if known is None or known.version > version:
            return False
        self._remove(kind, place)
        return True

    def _remove(self, kind: Kind, place: Place) -> None:
        entry = self._unlink(kind, place)
        self.verified.pop(entry.uid, None)
        self.foreign.pop(entry.uid, None)
        self._confirmed.pop(entry.uid, None)
        metrics.CACHED_OBJECTS.labels(kind.kind).set(len(self._entries[kind]))

    def _link(self, kind: Kind, place: Place, entry: Entry) -> None:
        self._entries[kind][place] = entry
        if entry.owner:
            self._owned.setdefault(entry.owner, set()).add((kind, place))
        if kind in kinds.OF_A_SERVICE and (key := key_of(kind, entry.manifest)) is not None:
            self._labelled.setdefault((kind, key), set()).add(place)

    def _unlink(self, kind: Kind, place: Place) -> Entry:
        entry = self._entries[kind].pop(place)
        _discard(self._owned, entry.owner, (kind, place))
        if kind in kinds.OF_A_SERVICE and (key := key_of(kind, entry.manifest)) is not None:
            _discard(self._labelled, (kind, key), place)
        return entry

    def services(self) -> list[Key]:
        """Return all services."""
        return [Key(*place) for place in self._entries.get(kinds.INFERENCE_SERVICE, {})]

    def known(self, key: Key) -> bool:
        """Tell whether a service exists, as far as we know."""
        return self.service(key) is not None

    def service(self, key: Key) -> Manifest | None:
        """Return a service as last seen, with its status, and without managed fields and annotations but our own."""
        return self.get(kinds.INFERENCE_SERVICE, key.namespace, key.name)

    def node(self, name: str) -> Manifest | None:
        """Return a node as last seen."""
        return self.get(kinds.NODE, "", name)

    def confirmed(self, uid: str, within: float) -> bool:
        """Tell whether the API server named this service in the last `within` seconds."""
        return time.monotonic() - self._confirmed.get(uid, float("-inf")) <= within

    def confirm(self, uid: str) -> None:
        """Note that the API server has just named this service."""
        self._confirmed[uid] = time.monotonic()

    def entry(self, kind: Kind, namespace: str, name: str) -> Entry | None:
        """Return what is known of an object, with who owns its fields."""
        return self._entries.get(kind, {}).get((namespace, name))

    def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        """Return an object as last seen."""
        entry = self.entry(kind, namespace, name)
        return entry.manifest if entry is not None else None

    def pods(self, key: Key) -> list[Entry]:
        """Return the pods that carry the label of a service, by name."""
        return self._of(kinds.POD, key)

    def claims(self, key: Key) -> list[Entry]:
        """Return the PersistentVolumeClaims that carry the label of a service, by name."""
        return self._of(kinds.PERSISTENT_VOLUME_CLAIM, key)

    def _of(self, kind: Kind, key: Key) -> list[Entry]:
        return [self._entries[kind][place] for place in sorted(self._labelled.get((kind, key), ()))]

    def children(self, uid: str) -> dict[ObjectKey, Manifest]:
        """Return what a service controls, by kind and name."""
        found = {
            ObjectKey(kind.kind, place[1]): self._entries[kind][place].manifest
            for kind, place in self._owned.get(uid, ())
            if kind.kind in kinds.CHILD_BY_KIND
        }
        return dict(sorted(found.items()))

    def nodes(self) -> list[Manifest]:
        """Return all nodes."""
        return [entry.manifest for entry in self._entries.get(kinds.NODE, {}).values()]


def selector_of(kind: Kind) -> str:
    """Return the label selector that lists and watches of a kind use."""
    return "" if kind in kinds.UNLABELLED else names.MANAGED_SELECTOR


def key_of(kind: Kind, obj: Manifest) -> Key | None:
    """Return the service that an object belongs to, by its label."""
    meta = obj["metadata"]
    if kind is kinds.INFERENCE_SERVICE:
        return Key(meta["namespace"], meta["name"])
    name = (meta.get("labels") or {}).get(names.LABEL_SERVICE)
    return Key(meta["namespace"], name) if name and kind.namespaced else None


def _says_the_same(kind: Kind, before: Entry, now: Entry) -> bool:
    """Tell whether nothing changed that a round reads: of a service its spec, of the others what the cache keeps."""
    was, meta = before.manifest["metadata"], now.manifest["metadata"]
    if kind is kinds.INFERENCE_SERVICE:
        # Its status is ours.
        fields = ("uid", "generation", "deletionTimestamp", "annotations")
        return all(was.get(field) == meta.get(field) for field in fields)
    manifest = {**now.manifest, "metadata": {**meta, "resourceVersion": was["resourceVersion"]}}
    return before == now._replace(manifest=manifest, version=before.version)


def _discard(index: dict[K, set[V]], key: K, value: V) -> None:
    found = index.get(key)
    if found is not None:
        found.discard(value)
        if not found:
            del index[key]


def _place(obj: Manifest) -> Place:
    meta = obj["metadata"]
    return meta.get("namespace", ""), meta["name"]
