"""The naive design: an application in front of a stateless model server, which keeps each session's state in Redis.

For each step it reads the state from Redis, asks the model server with the state as one more input, writes the next
state to Redis, and answers. Redis syncs its log before it answers (`appendfsync always`), so a step is on disk before
its reply leaves, as it is with ours. `python -m tests.bench.sessions.naive PORT REDIS_PORT MODEL_PORT STATE_SIZE`
serves it; with a path to the model in place of MODEL_PORT it runs the model itself, one request at a time.

Nothing locks a session, and a client that asks again steps twice: it does less than ours.
"""

import asyncio
import json
import struct
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import numpy as np
import onnxruntime
import uvloop
from aiohttp import web

from tests.bench.sessions.models import INPUTS

CONNECTIONS = 32
PATH = "/v2/models/m/infer"

Run = Callable[[list[float], bytes], Awaitable[tuple[list[float], bytes]]]
"""Inputs and state to output and next state."""


class Redis:
    """Connections to one Redis; each does one command at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()

    async def connect(self) -> None:
        """Make all connections."""
        for _ in range(CONNECTIONS):
            self._free.put_nowait(await asyncio.open_connection("127.0.0.1", self._port))

    async def get(self, key: str) -> bytes | None:
        """The value of a key."""
        reader, writer = line = await self._free.get()
        try:
            writer.write(f"*2\r\n$3\r\nGET\r\n${len(key)}\r\n{key}\r\n".encode())
            size = int((await reader.readline())[1:])
            return None if size < 0 else (await reader.readexactly(size + 2))[:-2]
        finally:
            self._free.put_nowait(line)

    async def set(self, key: str, value: bytes) -> None:
        """Write a value; it is on disk when this returns."""
        reader, writer = line = await self._free.get()
        try:
            writer.write(f"*3\r\n$3\r\nSET\r\n${len(key)}\r\n{key}\r\n${len(value)}\r\n".encode() + value + b"\r\n")
            told = await reader.readline()
            if told != b"+OK\r\n":
                raise RuntimeError(f"Redis does not take a state: {told!r}")
        finally:
            self._free.put_nowait(line)


def own_run(file: Path) -> Run:
    """The model in this process."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    async def run(values: list[float], state: bytes) -> tuple[list[float], bytes]:
        feed = {"x": np.array([values], np.float32), "state_in_h": np.frombuffer(state, np.float32)[None]}
        y, after = session.run(["y", "state_out_h"], feed)
        return y[0].tolist(), after.tobytes()

    return run


def served_run(client: aiohttp.ClientSession, port: int) -> Run:
    """The model at a server of V2, which batches; tensors go as bytes."""
    url = f"http://127.0.0.1:{port}{PATH}"

    async def run(values: list[float], state: bytes) -> tuple[list[float], bytes]:
        sizes = {"x": 4 * INPUTS, "state_in_h": len(state)}
        head = json.dumps(
            {
                "inputs": [
                    {
                        "name": name,
                        "shape": [1, size // 4],
                        "datatype": "FP32",
                        "parameters": {"binary_data_size": size},
                    }
                    for name, size in sizes.items()
                ],
                "parameters": {"binary_data_output": True},
            }
        ).encode()
        body = head + struct.pack(f"<{INPUTS}f", *values) + state
        async with client.post(url, data=body, headers={"Inference-Header-Content-Length": str(len(head))}) as reply:
            told = await reply.read()
            reply.raise_for_status()
        length = int(reply.headers["Inference-Header-Content-Length"])
        outputs, at = {}, length
        for each in json.loads(told[:length])["outputs"]:
            size = each["parameters"]["binary_data_size"]
            outputs[each["name"]] = told[at : at + size]
            at += size
        return list(struct.unpack("<4f", outputs["y"])), outputs["state_out_h"]

    return run


def application(redis: Redis, run: Run, state_size: int) -> web.Application:
    """The service; it speaks V2 as JSON, with the session in the header that our server has for it."""
    first = bytes(4 * state_size)

    async def step(asked: web.Request) -> web.Response:
        session = f"{state_size}:{asked.headers['X-Mooring-Session']}"
        document = await asked.json()
        state = await redis.get(session) or first
        y, after = await run(document["inputs"][0]["data"], state)
        await redis.set(session, after)
        tensor = {"name": "y", "datatype": "FP32", "shape": [1, 4], "data": y}
        return web.json_response({"model_name": "m", "model_version": "1", "outputs": [tensor]})

    async def ready(_: web.Request) -> web.Response:
        return web.Response()

    made = web.Application()
    made.add_routes([web.post(PATH, step), web.get("/v2/health/ready", ready)])
    return made


async def serve(port: int, redis_port: int, model: str, state_size: int) -> None:
    """Serve until stopped."""
    redis = Redis(redis_port)
    await redis.connect()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as client:
        run = served_run(client, int(model)) if model.isdigit() else own_run(Path(model))
        runner = web.AppRunner(application(redis, run, state_size), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
