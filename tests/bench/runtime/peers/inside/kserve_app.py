"""Runs in KServe's environment: `kserve_app.py NAME FILE HTTP_PORT GRPC_PORT`; onnxruntime on one thread."""

import sys
from typing import Any

import onnxruntime as ort
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer


class Onnx(Model):
    """One model."""

    def __init__(self, name: str, file: str) -> None:
        super().__init__(name)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self.ready = True

    async def predict(self, payload: InferRequest, headers: Any = None, response_headers: Any = None) -> InferResponse:
        """One run for a request."""
        [found] = self._session.run(["y"], {"x": payload.inputs[0].as_numpy()})
        output = InferOutput("y", list(found.shape), "FP32")
        output.set_data_from_numpy(found, binary_data=False)
        return InferResponse(
            response_id=payload.id or "",
            model_name=self.name,
            infer_outputs=[output],
            use_binary_outputs=payload.use_binary_outputs,
            requested_outputs=payload.request_outputs,
        )


if __name__ == "__main__":
    _, name, file, http_port, grpc_port = sys.argv
    server = ModelServer(
        http_port=int(http_port), grpc_port=int(grpc_port), workers=1, enable_docs_url=False, access_log_format=None
    )
    server.start([Onnx(name, file)])
