"""A model behind the gRPC front end, without a socket; requests are Triton's own messages."""

from typing import Any

from tritonclient.grpc import service_pb2 as pb

from mooring_runtime.frontends.grpc.envelopes import framed
from mooring_runtime.frontends.grpc.service import SERVICE, methods
from mooring_runtime.messages import DATATYPES, Array
from tests.support.grpc_line import Answer, Line
from tests.support.serving import Served


class GrpcServed:
    """One connection to `served`; each request is a stream more."""

    def __init__(self, served: Served | None = None, **options: Any) -> None:
        self.served = served or Served(**options)
        self.line = Line(methods(self.served.services), max_message=2**24)
        self.line.settings({4: 2**30})
        self.line.window(0, 2**30)
        self.line.frames()
        self._stream = -1

    def ask(self, method: str, request: Any, **headers: str) -> Answer:
        """The answer to one message; `method` with or without its service."""
        path = method if "/" in method else f"/{SERVICE}/{method}"
        self._stream += 2
        self.line.open(self._stream, path, **headers)
        body = framed(request.SerializeToString())
        for start in range(0, len(body), 16384):
            self.line.data(self._stream, body[start : start + 16384], end=start + 16384 >= len(body))
        return self.line.answer(self._stream)

    def infer(self, request: Any, **headers: str) -> Any:
        """The response to an infer request that succeeds."""
        answer = self.ask("ModelInfer", request, **headers)
        assert answer.status == 0, answer.trailers
        [message] = answer.messages
        return pb.ModelInferResponse.FromString(message)


def raw(datatype: str, array: Array) -> bytes:
    """A tensor's raw bytes."""
    if datatype == "BYTES":
        return b"".join(len(each).to_bytes(4, "little") + each for each in array.ravel())
    return array.astype(DATATYPES[datatype].dtype).tobytes()


def request_of(name: str = "echo", **tensors: tuple[str, Array]) -> Any:
    """An infer request with raw tensors, by input name: datatype and array."""
    request = pb.ModelInferRequest(model_name=name)
    for tensor, (datatype, array) in tensors.items():
        request.inputs.add(name=tensor, datatype=datatype, shape=array.shape)
        request.raw_input_contents.append(raw(datatype, array))
    return request
