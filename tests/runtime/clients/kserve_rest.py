"""Run by the Python of .venv-clients: asks the server at ADDRESS by the kserve client and prints what it got, as JSON.

python kserve_rest.py http://127.0.0.1:8000
"""

import asyncio
import json
import sys
from typing import Any

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig


def request_of(array: Any, datatype: str, model: str, *, binary: bool) -> InferRequest:
    """One input `in_DATATYPE`."""
    tensor = InferInput(f"in_{datatype}", list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=binary)
    return InferRequest(model_name=model, infer_inputs=[tensor], parameters={"binary_data_output": binary})


async def told(call: Any) -> str:
    """What the client says of an error."""
    try:
        await call
    except Exception as error:
        return f"{getattr(error, 'response', None)} {error}"
    return "no error"


async def ask(address: str) -> dict[str, Any]:
    """Every call that the client has."""
    v1 = InferenceRESTClient(RESTConfig(protocol="v1"))
    v2 = InferenceRESTClient(RESTConfig(protocol="v2"))
    found: dict[str, Any] = {
        "v1 live": await v1.is_server_live(address),
        "v1 model": await v1.is_model_ready(address, "scores"),
        "v1 predict": await v1.infer(address, {"instances": [[1, 2], [3, 4]]}, "scores"),
        "v1 explain": await told(v1.explain(address, "scores", {"instances": [[1, 2]]})),
        "v1 wrong": await told(v1.infer(address, {"instances": [[1, 2], [3]]}, "scores")),
        "v1 unknown": await told(v1.infer(address, {"instances": [[1, 2]]}, "other")),
        "v2 live": await v2.is_server_live(address),
        "v2 ready": await v2.is_server_ready(address),
        "v2 model": await v2.is_model_ready(address, "scores"),
        "v2 unknown": await told(
            v2.infer(address, request_of(np.ones((1, 2), np.float32), "FP32", "other", binary=True), "other")
        ),
        "v2 wrong": await told(
            v2.infer(address, request_of(np.ones((1, 2), np.float32), "FP32", "text", binary=False), "text")
        ),
    }
    for binary in (True, False):
        array = np.array([[1.5, -2]], np.float32)
        response = await v2.infer(address, request_of(array, "FP32", "scores", binary=binary), "scores")
        found[f"v2 scores {binary}"] = response.outputs[0].as_numpy().tolist()
        texts = np.array(["ä", ""], dtype=object)
        response = await v2.infer(address, request_of(texts, "BYTES", "text", binary=binary), "text")
        found[f"v2 text {binary}"] = [
            each.decode() if isinstance(each, bytes) else each for each in response.outputs[0].as_numpy().tolist()
        ]
    return found


if __name__ == "__main__":
    print(json.dumps(asyncio.run(ask(sys.argv[1]))))
