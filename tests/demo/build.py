"""The demo's three images: the operator's, the runtime's, and the model's."""

import tempfile
from importlib.metadata import distribution
from pathlib import Path

import yaml

from tests.cluster import buildah, images, oci
from tests.cluster.images import Image
from tests.cluster.places import ROOT, ClusterError
from tests.cluster.progress import step

from .install import SERVICE, Images

# Where the package keeps the model; the version is that of requirements/dev.txt.
MODEL = "magika/models/standard_v3_3/model.onnx"


def local() -> tuple[Images, list[Image]]:
    """Builds what changed; returns the names by which nodes that load the archives know the images.

    Raises:
        ClusterError: a build failed; the message holds the end of its log.
    """
    operator, runtime, model = images.build("operator"), images.build("runtime"), _model()
    return Images(operator.reference, runtime.reference, model.reference), [operator, runtime, model]


def push(registry: str, insecure: bool) -> Images:
    """Builds what changed and pushes all three to `registry` (HOST/PATH); returns their names by digest.

    Raises:
        ClusterError: a build or a push failed.
    """
    registry = registry.removesuffix("/")
    if "://" in registry or "/" not in registry:
        raise ClusterError(f"--registry {registry}: write HOST/PATH, without a scheme")
    _, built = local()
    log = images.FOLDER / "push.log"
    log.unlink(missing_ok=True)
    # The model's archive was made without buildah, whose store is where a push begins.
    buildah.run(log, "pull", "--policy=always", f"oci-archive:{built[-1].archive}")
    return Images(*(_push(image, registry, insecure, log) for image in built))


def _push(image: Image, registry: str, insecure: bool, log: Path) -> str:
    target = image.reference.replace("localhost", registry, 1)
    verify = ["--tls-verify=false"] if insecure else []
    with step(f"push {target}"), tempfile.NamedTemporaryFile(mode="r") as digest:
        buildah.run(log, "push", *verify, f"--digestfile={digest.name}", image.reference, f"docker://{target}")
        return f"{target.rpartition(':')[0]}@{digest.read().strip()}"


def _model() -> Image:
    """The image of magika's model, called as examples/file-type/service.yaml calls it."""
    uri: str = yaml.safe_load(SERVICE.read_text())["spec"]["model"]["uri"]
    reference = uri.removeprefix("oci://")
    installed = distribution("magika")
    if not reference.endswith(f":{installed.version}"):
        raise ClusterError(f"{SERVICE.relative_to(ROOT)} names {reference}, installed is magika {installed.version}")
    archive = images.FOLDER / "models" / "file-type.tar"
    content = Path(str(installed.locate_file(MODEL))).read_bytes()
    return Image(archive, reference, oci.write(archive, reference, {"model.onnx": content}))
