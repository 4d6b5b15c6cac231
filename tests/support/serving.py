"""Seams of the runtime's unit tests: an echo backend, a transport that keeps what is written, an inline schedule."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from mooring_runtime.backends.base import Backend, Load, LoadOptions
from mooring_runtime.dataplane import DataPlane
from mooring_runtime.dataplane.control import Control
from mooring_runtime.dataplane.observability import LogSettings, TraceSettings
from mooring_runtime.frontends.http.app import HttpApp
from mooring_runtime.frontends.http.connection import Connection
from mooring_runtime.frontends.http.exchange import Exchange, Shared
from mooring_runtime.frontends.http.messages import Handler, Reply, Request
from mooring_runtime.frontends.http.parser import Limits
from mooring_runtime.frontends.http.services import Options, Services
from mooring_runtime.messages import DATATYPES, Array, ModelMetadata, TensorSpec
from mooring_runtime.metrics import Aims, MetricsPage, ModelStats
from mooring_runtime.repository import Manager, Model, ModelSource, Repository
from mooring_runtime.repository.layout import SingleModel
from mooring_runtime.scheduling import RunTimes, Ticket
from mooring_runtime.settings import ServeSettings


class Inline(RunTimes):
    """Everything is short."""

    def inline(self, size: int) -> bool:
        return True


class Apart(RunTimes):
    """Everything is long."""

    def inline(self, size: int) -> bool:
        return False


class AtOnce:
    """In place of the event loop, for tests of what happens within one turn of it: what is due happens now."""

    def call_soon(self, callback: Callable[..., object], *args: Any) -> None:
        callback(*args)

    call_soon_threadsafe = call_soon

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> asyncio.TimerHandle:
        raise AssertionError("a test that waits needs a real loop")


class EchoBackend(Backend):
    """Outputs `out_X` are inputs `in_X`; `hook` is called at the start of each run and may block or raise."""

    device = "nowhere"
    memory = 0

    def __init__(self, metadata: ModelMetadata, hook: Callable[[], None] = lambda: None) -> None:
        self.metadata = metadata
        self.hook = hook
        self.runs = 0

    def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        self.runs += 1
        self.hook()
        return [inputs["in_" + name.removeprefix("out_")] for name in outputs]


def echo_metadata(
    datatypes: Sequence[str] = ("FP32",), shape: tuple[int, ...] = (-1, 2), name: str = "echo"
) -> ModelMetadata:
    inputs = tuple(TensorSpec(f"in_{each}", each, shape) for each in datatypes)
    outputs = tuple(TensorSpec(f"out_{each}", each, shape) for each in datatypes)
    return ModelMetadata(name, "1", "echo", inputs, outputs)


ALL = tuple(DATATYPES)


def loads(backend: Backend) -> Callable[[str], Load]:
    """For `Manager`: whatever the format and the file, it is this backend."""

    def load(file: Path, options: LoadOptions) -> Backend:
        return backend

    return lambda model_format: load


class Served:
    """A model behind the whole data plane and HTTP front end, without a socket."""

    def __init__(
        self,
        metadata: ModelMetadata | None = None,
        *,
        times: RunTimes | None = None,
        aims: Aims = Aims(),  # noqa: B008 - immutable
        options: Options = Options(),  # noqa: B008 - immutable
        backend: Backend | None = None,
    ) -> None:
        told = backend.metadata if backend is not None else echo_metadata()
        self.backend = EchoBackend(metadata or told)
        self.stats = ModelStats(self.backend.metadata.name, "1", aims)
        self.model = Model(self.backend.metadata.name, self.stats)
        self.model.times = times or Inline()
        self.model.serve(backend or self.backend)
        if times is None:
            self.model.batcher.loop = AtOnce()
        repository = Repository()
        repository.add(self.model)
        self.plane = DataPlane(repository, aims)
        nowhere = ModelSource(Path("/nowhere/model.onnx"))
        settings = ServeSettings(model_name=self.model.name, model_path=nowhere.path, model_control="explicit")
        stock = SingleModel(self.model.name, nowhere)
        manager = Manager(repository, stock, settings, MetricsPage(), loads(backend or self.backend))
        repository.starting = None
        self.services = services = Services(
            self.plane, Control(repository, manager), LogSettings(), TraceSettings(None, self.plane.models), options
        )
        self.app = HttpApp(services)

    def ask(self, method: str, target: str, body: bytes = b"", headers: Mapping[bytes, bytes] | None = None) -> Reply:
        """The reply to one request that is answered at once."""
        line = Line(self.app)
        line.send(http(method, target, body, headers or {}))
        [reply] = line.replies
        return reply

    async def ask_later(self, method: str, target: str, document: object = None) -> list[Reply]:
        """The replies, with all their pieces, to one request that needs the event loop to be answered."""
        done = asyncio.Event()

        def app(request: Request, respond: Callable[[Reply], None]) -> Ticket | None:
            def keep(reply: Reply) -> None:
                respond(reply)
                if not reply.more:
                    done.set()

            return self.app(request, keep)

        line = Line(app)
        line.send(http(method, target, b"" if document is None else orjson.dumps(document)))
        await asyncio.wait_for(done.wait(), 1)
        return line.replies

    def infer(self, document: object, headers: Mapping[bytes, bytes] | None = None, binary: bytes = b"") -> Reply:
        """The reply to an infer request with this JSON, and these bytes behind it."""
        text = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
        extra = {b"Inference-Header-Content-Length": b"%d" % len(text)} if binary else {}
        target = f"/v2/models/{self.backend.metadata.name}/infer"
        return self.ask("POST", target, text + binary, {**extra, **(headers or {})})


def http(method: str, target: str, body: bytes = b"", headers: Mapping[bytes, bytes] | None = None) -> bytes:
    """The bytes of a request."""
    lines = [f"{method} {target} HTTP/1.1".encode(), b"Host: test"]
    lines += [b"%s: %s" % header for header in (headers or {}).items()]
    if body or method == "POST":
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", body])


class FakeTransport(asyncio.Transport):
    """Keeps what is written; says what was done to it."""

    def __init__(self) -> None:
        self.told: dict[str, object] = {}
        """What `get_extra_info` tells."""
        super().__init__(extra=self.told)
        self.written = b""
        self.reading = True
        self.closed = self.aborted = self.eof = False
        self.unsent = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closed
        self.written += bytes(data)

    def writelines(self, list_of_data: object) -> None:
        for part in list_of_data:  # type: ignore[attr-defined]
            self.write(part)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.eof = True

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True

    def is_closing(self) -> bool:
        return self.closed or self.aborted

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True


class _Recorded(Connection):
    """Keeps every reply as its handler gave it."""

    def __init__(self, shared: Shared, replies: list[Reply]) -> None:
        super().__init__(shared)
        self._replies = replies

    def answered(self, exchange: Exchange, reply: Reply) -> None:
        self._replies.append(reply)
        super().answered(exchange, reply)


class Line:
    """A connection to `handler`, and the client's end of it. `clock` moves with `pass_time`."""

    def __init__(self, handler: Handler, limits: Limits | None = None, max_age: float = 0.0) -> None:
        self.replies: list[Reply] = []
        self.logged: list[tuple[bytes, int, int]] = []

        def log(request: Request, status: int, size: int, _seconds: float, _client: str) -> None:
            self.logged.append((request.target, status, size))

        self.shared = Shared(handler, limits or Limits(), log, max_age=max_age)
        self.transport = FakeTransport()
        self.connection = _Recorded(self.shared, self.replies)
        self.connection.connection_made(self.transport)

    def send(self, data: bytes) -> None:
        self.connection.data_received(data)

    def pass_time(self, seconds: float) -> None:
        """Let the clock run and do what the listener's sweep does then."""
        self.shared.now += seconds
        if self.connection.deadline <= self.shared.now:
            self.connection.expire()

    @property
    def received(self) -> bytes:
        return self.transport.written
