"""Run by the Python of .venv-clients: asks the server at ADDRESS by the kserve client and prints what it got, as JSON.

python kserve_grpc.py 127.0.0.1:8001
"""

import asyncio
import json
import sys
from typing import Any

import grpc
import numpy as np
from kserve import InferenceGRPCClient, InferInput, InferRequest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as stubs


def request_of(array: Any, datatype: str, model: str, *, raw: bool) -> InferRequest:
    """One input `in_DATATYPE`, as raw bytes or in typed contents."""
    tensor = InferInput(f"in_{datatype}", list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=raw)
    return InferRequest(model_name=model, infer_inputs=[tensor], request_id="7")


async def told(call: Any) -> str:
    """What the client says of an error."""
    try:
        await call
    except grpc.RpcError as error:
        return f"{error.code().name} {error.details()}"
    return "no error"


async def ask(address: str) -> dict[str, Any]:
    """Every call that the client has, and its stubs' load and unload."""
    floats = np.array([[1.5, -2.0]], np.float32)
    texts = np.array([b"\xc3\xa4", b""], dtype=object)
    found: dict[str, Any] = {}
    async with InferenceGRPCClient(address, retries=0) as client:
        found["live"] = await client.is_server_live()
        found["ready"] = await client.is_server_ready()
        found["model"] = await client.is_model_ready("scores")
        for raw in (True, False):
            scores = await client.infer(request_of(floats, "FP32", "scores", raw=raw))
            found[f"scores {raw}"] = [scores.id, scores.outputs[0].as_numpy().tolist()]
            answer = await client.infer(request_of(texts, "BYTES", "text", raw=raw))
            found[f"text {raw}"] = [element.decode() for element in answer.outputs[0].as_numpy().ravel()]
        found["unknown"] = await told(client.infer(request_of(floats, "FP32", "other", raw=True)))
        found["wrong"] = await told(client.infer(request_of(floats, "FP32", "text", raw=True)))
    async with grpc.aio.insecure_channel(address) as channel:
        stub = stubs.GRPCInferenceServiceStub(channel)
        unloaded = await stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name="image"))
        found["unload"] = [unloaded.model_name, unloaded.isUnloaded]
        loaded = await stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="image"))
        found["load"] = [loaded.model_name, loaded.isLoaded]
    return found


print(json.dumps(asyncio.run(ask(sys.argv[1]))))
