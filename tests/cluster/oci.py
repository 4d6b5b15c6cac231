"""Writes an OCI image of plain files, without a builder: one layer, the same bytes for the same files."""

import gzip
import hashlib
import io
import json
import os
import platform
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from .places import ClusterError

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def write(
    archive: Path,
    reference: str,
    files: Mapping[str, bytes],
    *,
    entrypoint: Sequence[str] = (),
    executable: bool = False,
) -> str:
    """Writes `archive` (an OCI layout in a tar file) whose image is called `reference`.

    Args:
        files: each file's path inside the image, without a leading slash, and its content.
        executable: whether the files may be run.

    Returns:
        The manifest's digest, "sha256:…": what pins the image in a reference.
    """
    layer = _layer(files, 0o755 if executable else 0o644)
    packed = gzip.compress(layer, compresslevel=1, mtime=0)
    config = {
        "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {"Entrypoint": list(entrypoint)} if entrypoint else {},
        "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
    }
    blobs: dict[str, bytes] = {}

    def describe(kind: str, content: bytes) -> dict[str, Any]:
        blobs[digest(content)] = content
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": digest(content), "size": len(content)}

    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": describe("config.v1+json", _json(config)),
        "layers": [describe("layer.v1.tar+gzip", packed)],
    }
    entry = describe("manifest.v1+json", _json(manifest))
    entry["annotations"] = {"org.opencontainers.image.ref.name": reference, "io.containerd.image.name": reference}
    members = {"oci-layout": _json({"imageLayoutVersion": "1.0.0"})}
    members["index.json"] = _json({"schemaVersion": 2, "manifests": [entry]})
    members |= {f"blobs/{name.replace(':', '/')}": content for name, content in blobs.items()}
    archive.parent.mkdir(parents=True, exist_ok=True)
    # Two runs may write the same archive at once.
    half = archive.with_name(f"{archive.name}.{os.getpid()}.new")
    half.write_bytes(_layer(members, 0o644))
    half.rename(archive)
    return str(entry["digest"])


def names(archive: Path) -> tuple[str, str]:
    """An archive's image by its tag, and by its digest.

    Raises:
        ClusterError: it is no OCI archive of one named image.
    """
    try:
        with tarfile.open(archive) as tar:
            index = tar.extractfile("index.json")
            manifests = json.load(index)["manifests"] if index else []
        [reference] = [str(entry["annotations"]["org.opencontainers.image.ref.name"]) for entry in manifests]
    except (tarfile.TarError, KeyError, ValueError) as error:
        raise ClusterError(f"{archive}: not an OCI archive of one named image ({error!r})") from error
    return reference, f"{reference.rpartition(':')[0]}@{manifests[0]['digest']}"


def _layer(files: Mapping[str, bytes], mode: int) -> bytes:
    """A tar of the files and the folders above them, owned by root, with no times."""
    folders = {str(parent) for name in files for parent in PurePosixPath(name).parents} - {".", "/"}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name in sorted(folders | set(files)):
            entry = tarfile.TarInfo(name)
            entry.mode = mode if name in files else 0o755
            entry.type = tarfile.REGTYPE if name in files else tarfile.DIRTYPE
            entry.size = len(files.get(name, b""))
            tar.addfile(entry, io.BytesIO(files.get(name, b"")))
    return buffer.getvalue()


def digest(content: bytes) -> str:
    """The name of a blob: "sha256:" and the hash of its content in hex."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()
