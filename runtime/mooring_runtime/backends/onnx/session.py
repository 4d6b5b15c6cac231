"""Makes a session of an ONNX file, and tells what the model takes and gives."""

import logging
import mmap
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime as ort

from mooring_runtime.backends.base import Backend, LoadOptions
from mooring_runtime.backends.onnx import providers
from mooring_runtime.backends.onnx.backend import OnnxBackend, direct, words
from mooring_runtime.backends.onnx.recorded import Recorded, obstacle
from mooring_runtime.errors import ModelInvalid
from mooring_runtime.messages import FROM_ONNX, ModelMetadata, TensorSpec, Traits

PLATFORM = "onnxruntime_onnx"
"""As Triton names it."""

log = logging.getLogger(__name__)


def load(file: Path, options: LoadOptions) -> Backend:
    """Load an ONNX file, its external data beside it.

    Raises ModelInvalid with onnxruntime's own words, or with what is declared of the model and not so.
    """
    ort.disable_telemetry_events()
    session, device = _session(file, options)
    inputs = tuple(_spec("input", file, argument) for argument in session.get_inputs())
    outputs = tuple(_spec("output", file, argument) for argument in session.get_outputs())
    _require_so("input", file, options.inputs, inputs)
    _require_so("output", file, options.outputs, outputs)
    traits = Traits(options.max_batch, labels=options.labels)
    metadata = ModelMetadata(options.name, options.version, PLATFORM, inputs, outputs, traits)
    backend = OnnxBackend(session, metadata, device, weights(file), _recorded(session, metadata, device, options))
    if options.sessions:
        backend.file, backend.defaults = file, _defaults(session)
    return backend


def _defaults(session: Any) -> Mapping[str, TensorSpec]:
    """The inputs that the file has a value for, as it may for the state that a session begins with."""
    specs = {}
    for argument in session.get_overridable_initializers():
        datatype = FROM_ONNX.get(argument.type)
        if datatype is not None and datatype.name not in ("BYTES", "BF16"):
            specs[argument.name] = TensorSpec(argument.name, datatype.name, _shape(argument))
    return specs


_OF_THE_FILE = frozenset({"InvalidProtobuf", "InvalidGraph", "NoSuchFile"})
"""Names of onnxruntime's exceptions for which no provider is to blame."""


def _session(file: Path, options: LoadOptions) -> tuple[Any, str]:
    """The session on the best provider that comes up, and where it runs."""
    chains = providers.prepare(options)
    for chain, following in zip(chains, [*chains[1:], None], strict=True):
        try:
            # Its own fall-back prints on standard output and, in the midst of a run, makes a new session on the CPU.
            session = ort.InferenceSession(str(file), _session_options(options), providers=chain, enable_fallback=0)
        except Exception as error:  # onnxruntime's exceptions share no base class but Exception.
            if following is None or type(error).__name__ in _OF_THE_FILE:
                raise ModelInvalid(
                    f"{file.name} is no model that onnxruntime {ort.__version__} can serve: {words(error)}"
                ) from error
            providers.lost(options.name, chain[0][0], words(error), following[0][0])
            continue
        return session, providers.device(session, options.name, chain[0][0])
    raise AssertionError("the last chain returns or raises")


def _session_options(options: LoadOptions) -> Any:
    chosen = ort.SessionOptions()
    chosen.intra_op_num_threads = options.threads
    chosen.inter_op_num_threads = 1
    # Spinning threads answer a microsecond sooner and take the CPU from the event loop and from other pods.
    chosen.add_session_config_entry("session.intra_op.allow_spinning", "0")
    chosen.add_session_config_entry("session.inter_op.allow_spinning", "0")
    if options.accelerator:
        chosen.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    # Only what ends the process: every other failure comes as an exception, and a client could fill the log.
    chosen.log_severity_level = 4
    return chosen


def _recorded(session: Any, metadata: ModelMetadata, device: str, options: LoadOptions) -> Recorded | None:
    """What records runs, where that was asked for and can be done."""
    if not options.cuda_graph or device != providers.DEVICES[providers.CUDA]:
        return None
    reason = obstacle(metadata)
    if reason is None and options.sessions and session.get_overridable_initializers():
        reason = "inputs that have a value in the file may be its state, and recorded runs do not take them"
    if reason is not None:
        log.warning("model '%s' runs without CUDA graphs: %s", options.name, reason)
        return None
    return Recorded(session, direct(session), metadata, "cuda")


def _spec(role: str, file: Path, argument: Any) -> TensorSpec:
    """An input or output as V2 names it; symbolic and unknown sizes are -1."""
    datatype = FROM_ONNX.get(argument.type)
    if datatype is None:
        advice = "; export a classifier without ZipMap" if argument.type.startswith("seq(map(") else ""
        raise ModelInvalid(
            f"{file.name}: {role} '{argument.name}' is {argument.type}, which the V2 protocol cannot carry{advice}"
        )
    return TensorSpec(argument.name, datatype.name, _shape(argument))


def _shape(argument: Any) -> tuple[int, ...]:
    return tuple(size if isinstance(size, int) and size >= 0 else -1 for size in argument.shape)


def _require_so(role: str, file: Path, declared: Sequence[TensorSpec], own: Sequence[TensorSpec]) -> None:
    """Raise ModelInvalid for a declaration that the file contradicts; a size that one of them leaves free agrees."""
    specs = {spec.name: spec for spec in own}
    for spec in declared:
        found = specs.get(spec.name)
        if found is None:
            raise ModelInvalid(
                f"{file.name}: {role} '{spec.name}' is declared, but the model has {', '.join(specs) or 'none'}; "
                "correct the declaration or leave it out"
            )
        sizes = zip(spec.shape, found.shape, strict=False)
        alike = len(spec.shape) == len(found.shape) and all(-1 in pair or pair[0] == pair[1] for pair in sizes)
        if not alike or spec.datatype != found.datatype:
            raise ModelInvalid(
                f"{file.name}: {role} '{spec.name}' is declared as {spec.datatype} {list(spec.shape)}, but is "
                f"{found.datatype} {list(found.shape)} in the model; correct the declaration or leave it out"
            )


def weights(file: Path) -> int:
    """Bytes of the model: its file, and the files of external data that it names, relative to its directory."""
    total = file.stat().st_size
    if not total:
        return 0
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        names = {_text(content, match.end()) for match in _LOCATION.finditer(content)}
    beside = [file.parent / name for name in names]
    return total + sum(path.stat().st_size for path in beside if path.is_file())


_LOCATION = re.compile(rb"\x0a\x08location\x12")
"""The key of `external_data` as protobuf writes it, and the tag of the value that follows."""


def _text(content: mmap.mmap, at: int) -> str:
    """A protobuf string: its length in groups of 7 bits, the lowest first, then its bytes."""
    length = shift = 0
    for index in range(at, min(at + 3, len(content))):
        length |= (content[index] & 0x7F) << shift
        shift += 7
        if content[index] < 0x80:
            return content[index + 1 : index + 1 + length].decode(errors="replace").replace("\0", "")
    return ""
