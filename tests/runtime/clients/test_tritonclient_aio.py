"""tritonclient's asynchronous HTTP client, as it comes, against a real server."""

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException

from tests.support import models
from tests.support.runtime_process import Server
from tests.support.tensors import sample

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
async def client(house: Server) -> AsyncIterator[triton_aio.InferenceServerClient]:
    async with triton_aio.InferenceServerClient(f"127.0.0.1:{house.port}") as found:
        yield found


def inputs_of(shape: tuple[int, ...]) -> list[triton.InferInput]:
    found = []
    for name in models.ALL_BUT_BF16:
        each = triton.InferInput(f"in_{name}", list(shape), name)
        each.set_data_from_numpy(sample(name, shape))
        found.append(each)
    return found


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
@pytest.mark.parametrize("shape", [(1, 1), (0, 4), (31, 700)])
async def test_every_datatype(client: triton_aio.InferenceServerClient, shape: tuple[int, ...]) -> None:
    result = await client.infer("echo", inputs_of(shape), response_compression_algorithm="gzip")
    for name in models.ALL_BUT_BF16:
        assert result.as_numpy(f"out_{name}").tolist() == sample(name, shape).tolist()


async def test_many_at_once(client: triton_aio.InferenceServerClient) -> None:
    async def ask(number: int) -> float:
        each = triton.InferInput("in_FP32", [1, 2], "FP32")
        each.set_data_from_numpy(np.full((1, 2), number, np.float32))
        return float((await client.infer("scores", [each])).as_numpy("out_FP32")[0, 1])

    assert await asyncio.gather(*(ask(number) for number in range(50))) == list(range(50))


async def test_the_server_and_its_models(client: triton_aio.InferenceServerClient) -> None:
    assert await client.is_server_live()
    assert await client.is_server_ready()
    assert await client.is_model_ready("echo", "1")
    assert (await client.get_server_metadata())["name"] == "mooring"
    assert (await client.get_model_metadata("echo"))["versions"] == ["1"]
    assert (await client.get_model_config("echo"))["name"] == "echo"
    assert {entry["name"] for entry in await client.get_model_repository_index()} >= {"echo", "slow"}
    assert (await client.get_inference_statistics("echo"))["model_stats"][0]["name"] == "echo"
    await client.load_model("scores")
    assert await client.get_system_shared_memory_status() == []


async def test_errors_are_read(client: triton_aio.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="unknown model 'other'") as caught:
        await client.infer("other", inputs_of((1, 1)))
    assert caught.value.status() == "404"
    with pytest.raises(InferenceServerException, match=r"input .* is missing") as caught:
        await client.infer("echo", inputs_of((1, 1))[:1])
    assert caught.value.status() == "400"
