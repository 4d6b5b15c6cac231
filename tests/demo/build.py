"""The demo's images: the operator's, the runtime's, the router's, and one for each model."""

import tempfile
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

import yaml

from tests.cluster import buildah, images, oci
from tests.cluster.images import Image
from tests.cluster.places import ROOT, ClusterError
from tests.cluster.progress import step

from . import speech
from .install import FILE_TYPE, SPEECH, Images

# Where the package keeps the model; the version is that of requirements/dev.txt.
MODEL = "magika/models/standard_v3_3/model.onnx"


@dataclass(frozen=True)
class Built:
    """The demo's images as archives."""

    operator: Image
    runtime: Image
    model: Image
    speech: Image
    router: Image

    @property
    def names(self) -> Images:
        """The names by which nodes that load the archives know them."""
        parts = (self.operator, self.runtime, self.model, self.speech, self.router)
        return Images(*(part.reference for part in parts))


def local() -> Built:
    """Builds what changed.

    Raises:
        ClusterError: a build failed; the message holds the end of its log.
    """
    return Built(images.build("operator"), images.build("runtime"), _file_type(), _speech(), images.router())


def push(registry: str, insecure: bool) -> Images:
    """Builds what changed and pushes it to `registry` (HOST/PATH); returns the names by digest.

    Envoy is not pushed: a cluster that pulls has the public image, which the chart names.

    Raises:
        ClusterError: a build or a push failed.
    """
    registry = registry.removesuffix("/")
    if "://" in registry or "/" not in registry:
        raise ClusterError(f"--registry {registry}: write HOST/PATH, without a scheme")
    built = local()
    log = images.FOLDER / "push.log"
    log.unlink(missing_ok=True)
    for model in (built.model, built.speech):
        # The archives of models were made without buildah, whose store is where a push begins.
        buildah.run(log, "pull", "--policy=always", f"oci-archive:{model.archive}")
    pushed = (built.operator, built.runtime, built.model, built.speech)
    return Images(*(_push(image, registry, insecure, log) for image in pushed))


def _push(image: Image, registry: str, insecure: bool, log: Path) -> str:
    target = image.reference.replace("localhost", registry, 1)
    verify = ["--tls-verify=false"] if insecure else []
    with step(f"push {target}"), tempfile.NamedTemporaryFile(mode="r") as digest:
        buildah.run(log, "push", *verify, f"--digestfile={digest.name}", image.reference, f"docker://{target}")
        return f"{target.rpartition(':')[0]}@{digest.read().strip()}"


def _file_type() -> Image:
    """The image of magika's model, called as examples/file-type/service.yaml calls it."""
    installed = distribution("magika")
    return _model(FILE_TYPE, installed.version, {"model.onnx": Path(str(installed.locate_file(MODEL)))})


def _speech() -> Image:
    """The image of silero-vad's model, called as examples/speech/service.yaml calls it."""
    files = {name: SPEECH.with_name(name) for name in ("mooring.json", "warmup.json")}
    return _model(SPEECH, distribution("silero-vad").version, {"model.onnx": speech.model(), **files})


def _model(service: Path, version: str, files: dict[str, Path]) -> Image:
    """An image of files, called as a service calls it."""
    uri: str = yaml.safe_load(service.read_text())["spec"]["model"]["uri"]
    reference = uri.removeprefix("oci://")
    if not reference.endswith(f":{version}"):
        raise ClusterError(f"{service.relative_to(ROOT)} names {reference}, installed is version {version}")
    archive = images.FOLDER / "models" / f"demo-{service.parent.name}.tar"
    contents = {name: file.read_bytes() for name, file in files.items()}
    return Image(archive, reference, oci.write(archive, reference, contents))
