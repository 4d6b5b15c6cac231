"""Runs in MLServer: the model by onnxruntime on one thread."""

import numpy as np
import onnxruntime as ort
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class OnnxModel(MLModel):
    """The implementation that model-settings.json names."""

    async def load(self) -> bool:
        """Load the file of the settings."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        file = self.settings.parameters.uri
        self._session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """One run for a request, or for what the batching put together."""
        x = NumpyCodec.decode_input(payload.inputs[0]).astype(np.float32, copy=False)
        [found] = self._session.run(["y"], {"x": x})
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("y", found)])
