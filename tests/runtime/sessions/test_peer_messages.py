"""The bytes of what replicas say to each other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring_runtime.errors import ModelAsleep, QueueFull, RequestError
from mooring_runtime.errors.sessions import SessionConflict
from mooring_runtime.messages import DATATYPES, InferRequest, InferResponse, SessionCall, SessionInfo, Tensor
from mooring_runtime.sessions.copies import Copy, Kept, Phase, StoredReply, Target
from mooring_runtime.sessions.elsewhere import NotHere
from mooring_runtime.sessions.encoding import Packed
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.membership import Report
from mooring_runtime.sessions.messages import (
    PATHS,
    Answer,
    Ask,
    Behind,
    Body,
    Introduce,
    Message,
    Offer,
    Offered,
    Presence,
    Presences,
    Stale,
    Take,
    Verdict,
    Verdicts,
    Word,
    decode,
    decode_answer,
    encode,
    encode_answer,
)
from mooring_runtime.sessions.passing import Step, decode_outcome, decode_step, encode_outcome, encode_step
from mooring_runtime.sessions.record import Record

RECORD = Record(3, 2, (1,), {0: "a", 1: "b"}, ("c",))
TENSOR = Tensor("h", "FP32", np.arange(6, dtype=np.float32).reshape(1, 2, 3))
COPY = Copy(Phase.MOVING, 2, 2**63, 9, None, Target(1, "b"), "1", "f", 1, 2, 24)


def same(first: tuple[Tensor, ...], second: tuple[Tensor, ...]) -> bool:
    return [tensor[:2] for tensor in first] == [tensor[:2] for tensor in second] and all(
        a.array.dtype == b.array.dtype and a.array.shape == b.array.shape and (a.array == b.array).all()
        for a, b in zip(first, second, strict=True)
    )


@pytest.mark.parametrize(
    "message",
    [
        Introduce(RECORD),
        Ask((Key("m", "a"), Key("m", "ü\n"))),
        Ask(()),
        Ask((Key("m", "a"),), (4,)),
        Offer("m", "1", "f", 3, 2**40),
    ],
)
def test_a_message_is_read_back_from_its_bytes(message: Message) -> None:
    assert decode(PATHS[type(message)], encode(message)) == message


def test_sessions_are_read_back_from_their_bytes() -> None:
    replies = tuple(StoredReply(step, b"d" * 16, (TENSOR,)) for step in (8, 9))
    handed = [Packed(Key("m", f"s{n}"), Kept(COPY, (TENSOR,) * n, replies), 100 * n) for n in range(4)]
    found = decode("/take", encode(Take(tuple(handed))))
    assert isinstance(found, Take)
    for before, after in zip(handed, found.sessions, strict=True):
        assert (after.key, after.idle) == (before.key, before.idle)
        assert after.kept.copy._replace(digest=b"") == before.kept.copy
        assert same(after.kept.state, before.kept.state)
        assert [reply[:2] for reply in after.kept.replies] == [reply[:2] for reply in before.kept.replies]


@pytest.mark.parametrize(
    "body",
    [
        Presences(tuple(Presence)),
        Offered("store", ""),
        Offered("store", "no room"),
        Verdicts(tuple(Verdict(word, word.value) for word in Word)),
        Behind(),
        Stale(),
    ],
)
@pytest.mark.parametrize("newer", [None, RECORD])
def test_an_answer_is_read_back_from_its_bytes(body: Body, newer: Record | None) -> None:
    answer = Answer(3, newer, body)
    assert decode_answer("/take", encode_answer(answer)) == answer


@pytest.mark.parametrize("record", [None, RECORD])
def test_a_report_is_read_back_from_its_bytes(record: Record | None) -> None:
    report = Report(1, "b", 4, record, True, 5, 6, 7, 8, 9)
    answer = decode_answer("/membership", encode_answer(Answer(0, None, report)))
    assert answer == Answer(0 if record is None else 3, record, report)


@pytest.mark.parametrize("path", ["/membership", "/absent", "/offer", "/take", "/step"])
@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'"x"', b"\xff\xff\xff\xff", b"\x02\x00\x00\x00{}", b"\x00" * 40])
def test_what_is_no_message_is_told(path: str, body: bytes) -> None:
    with pytest.raises(ValueError, match=r"cannot|must|no |is "):
        decode_step(body) if path == "/step" else decode(path, body)
    if path == "/step":
        with pytest.raises(ValueError, match=r"cannot|must|no |is "):
            decode_outcome(body)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"x", b'{"epoch": 1, "presences": ["what"]}'])
def test_what_is_no_answer_is_told(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"cannot|must|no |is "):
        decode_answer("/absent", body)


def array_of(datatype: str, shape: tuple[int, ...]) -> "np.ndarray[tuple[int, ...], np.dtype[np.generic]]":
    count = int(np.prod(shape))
    if datatype == "BYTES":
        array = np.empty(count, object)
        array[:] = [b"x" * (n % 5) for n in range(count)]
        return array.reshape(shape)
    return np.arange(count).astype(DATATYPES[datatype].dtype).reshape(shape)


_TENSORS = st.lists(
    st.tuples(st.sampled_from(sorted(DATATYPES)), st.lists(st.integers(0, 3), max_size=3).map(tuple)), max_size=4
).map(lambda kinds: tuple(Tensor(f"t{n}", kind, array_of(kind, shape)) for n, (kind, shape) in enumerate(kinds)))


@given(_TENSORS, st.booleans())
def test_a_step_and_its_answer_are_read_back_from_their_bytes(tensors: tuple[Tensor, ...], full: bool) -> None:
    call = SessionCall("ü", True, True, False, 3, 2**63) if full else SessionCall("a")
    request = (
        InferRequest(tensors, ("o",), "id", {"p": 1.5}, 2, 0.25, call) if full else InferRequest(tensors, session=call)
    )
    step = Step("m", "2" if full else None, request, 1.5 if full else None)
    found = decode_step(encode_step(step))
    assert found._replace(request=request) == step
    assert found.request._replace(inputs=()) == request._replace(inputs=())
    assert same(found.request.inputs, tensors)
    info = SessionInfo("a", 3, 2**63, True, 2, True, 99) if full else None
    response = InferResponse("m", "1", tensors, "id" if full else None, {"p": "x"} if full else {}, session=info)
    answer = decode_outcome(encode_outcome(response))
    assert isinstance(answer, InferResponse)
    assert answer._replace(outputs=()) == response._replace(outputs=())
    assert same(answer.outputs, tensors)
    assert all(tensor.array.flags.aligned for tensor in answer.outputs)


@pytest.mark.parametrize(
    "error",
    [
        SessionConflict("step 5", "gap", session="a", step=5, expected=3),
        NotHere("a", 2),
        NotHere("a", moving=True),
        QueueFull("full"),
        ModelAsleep("asleep", 7),
    ],
)
def test_an_error_is_raised_as_it_was(error: RequestError) -> None:
    error.applied = "no"
    found = decode_outcome(encode_outcome(error))
    assert type(found) is type(error)
    assert (str(found), vars(found)) == (str(error), vars(error))


def test_an_error_of_a_newer_version_is_one_of_its_kind() -> None:
    class Newer(QueueFull):
        """One that the other side does not know."""

    body = encode_outcome(Newer("full")).replace(b"Newer", b"Nower")
    assert type(decode_outcome(body)) is QueueFull


@pytest.mark.parametrize("left", [0.0004, 0.0, -1.0])
def test_a_timeout_that_has_nearly_passed_is_not_none(left: float) -> None:
    step = decode_step(encode_step(Step("m", None, InferRequest(()), left)))
    assert step.left == 0.001
