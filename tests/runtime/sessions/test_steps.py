"""What is decided about a step, against tables of cases and against a simple oracle."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring_runtime.errors.sessions import SessionError
from mooring_runtime.messages import SessionCall, Tensor
from mooring_runtime.sessions import steps
from mooring_runtime.sessions.copies import KEPT_REPLY_BYTES, Copy, End, Phase, StoredReply, apart, kept_replies
from mooring_runtime.sessions.steps import Life, Made, Verdict, digest_of

A, B = b"a" * 16, b"b" * 16
LIVE = Copy(Phase.HELD, 1, 77, 6, version="1", fingerprint="f", created=10, last_used=20, size=8)
MINTED = "0." + "a" * 26


def reply(step: int, digest: bytes = A) -> StoredReply:
    return StoredReply(step, digest, ())


REPLIES = tuple(reply(step) for step in (3, 4, 5, 6))


def outcome(copy: Copy, call: SessionCall, digest: bytes = A, *, rewound: bool = False) -> str:
    """A word for what is done: the name of a life, the number of a stored reply, or the cause of a refusal."""
    replies = REPLIES if copy.step == 6 else tuple(reply(step) for step in range(1, copy.step + 1))
    try:
        verdict = steps.decide(copy, replies, call, digest, rewound=rewound)
    except SessionError as error:
        return f"{error.http_status} {error.cause} {error.applied}"
    return f"reply {verdict.step}" if isinstance(verdict, StoredReply) else verdict.name


@pytest.mark.parametrize(
    ("call", "digest", "expected"),
    [
        (SessionCall("s"), B, "GO_ON"),
        (SessionCall("s", step=7), B, "GO_ON"),
        (SessionCall("s", step=7, end=True), B, "GO_ON"),
        (SessionCall("s", step=6), A, "reply 6"),
        (SessionCall("s", step=3), A, "reply 3"),
        (SessionCall("s", step=6), B, "409 mismatch no"),
        (SessionCall("s", step=2), A, "409 reply-gone yes"),
        (SessionCall("s", step=8), A, "409 gap no"),
        (SessionCall("s", incarnation=77), A, "GO_ON"),
        (SessionCall("s", incarnation=78), A, "410 restarted no"),
        (SessionCall("s", step=6, incarnation=78), A, "410 restarted no"),
        (SessionCall("s", start=True), A, "AGAIN"),
        (SessionCall("s", start=True, step=1), A, "409 reply-gone yes"),
    ],
)
def test_a_step_for_a_live_session(call: SessionCall, digest: bytes, expected: str) -> None:
    assert outcome(LIVE, call, digest) == expected


@pytest.mark.parametrize(
    ("call", "digest", "expected"),
    [
        (SessionCall("s", step=6), A, "reply 6"),
        (SessionCall("s", step=6), B, "409 mismatch no"),
        (SessionCall("s", step=2), A, "409 reply-gone yes"),
        (SessionCall("s", step=7), A, "410 evicted no"),
        (SessionCall("s", step=9), A, "410 evicted no"),
        (SessionCall("s"), A, "410 evicted no"),
        (SessionCall("s", start=True), A, "AGAIN"),
        # Perhaps it began the life that has ended; its input was forgotten with its reply.
        (SessionCall("s", start=True, step=1), A, "410 evicted unknown"),
        (SessionCall("s", start=True, step=1, incarnation=77), A, "409 reply-gone yes"),
        (SessionCall("s", start=True, step=1, incarnation=78), A, "410 restarted no"),
        (SessionCall("s", start=True, incarnation=77), A, "AGAIN"),
    ],
)
def test_a_step_for_a_session_that_has_ended(call: SessionCall, digest: bytes, expected: str) -> None:
    assert outcome(LIVE._replace(end=End("evicted", 5, 6)), call, digest) == expected


@pytest.mark.parametrize(("end", "digest", "expected"), [(None, A, "reply 1"), (None, B, "409 exists no")])
def test_a_start_that_is_repeated(end: End | None, digest: bytes, expected: str) -> None:
    assert outcome(LIVE._replace(step=2, end=end), SessionCall("s", start=True, step=1), digest) == expected


def test_a_start_over_a_session_that_has_ended() -> None:
    call = SessionCall("s", start=True, step=1)
    over = LIVE._replace(step=2, end=End("ended", 5, 2))
    assert [outcome(over, call, digest) for digest in (A, B)] == ["reply 1", "AGAIN"]
    without_steps = LIVE._replace(step=0, end=End("expired", 5, 0))
    assert outcome(without_steps, call) == "AGAIN", "no step was ever applied, so it is nobody's repeat"


def test_a_start_for_a_session_that_was_made_for_it() -> None:
    for call in (SessionCall("s", start=True), SessionCall("s", start=True, step=1), SessionCall("s", step=1)):
        assert outcome(LIVE._replace(step=0), call) == "GO_ON"


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (SessionCall("s"), "409 rewound no"),
        (SessionCall("s", step=7), "GO_ON"),
        (SessionCall("s", step=8), "409 gap no"),
        (SessionCall("s", step=6), "reply 6"),
    ],
)
def test_a_step_after_a_rewind(call: SessionCall, expected: str) -> None:
    assert outcome(LIVE, call, rewound=True) == expected


@pytest.mark.parametrize(
    ("call", "lost", "expected"),
    [
        (SessionCall("", new=True), False, "CREATE"),
        (SessionCall("s", start=True), False, "CREATE"),
        (SessionCall("s", start=True), True, "CREATE"),
        (SessionCall(MINTED, start=True), False, "reserved-id"),
        (SessionCall("s"), False, "unknown"),
        (SessionCall("s", step=1), False, "unknown"),
        (SessionCall("s"), True, "maybe-lost"),
    ],
)
def test_a_step_for_a_session_that_nobody_has(call: SessionCall, lost: bool, expected: str) -> None:
    try:
        assert steps.absent(call, lost=lost).name == expected
    except SessionError as error:
        assert (error.cause, error.applied) == (expected, "no")


@pytest.mark.parametrize("step", [0, -1, 2**53])
def test_a_number_that_no_step_has(step: int) -> None:
    with pytest.raises(SessionError, match="numbered from 1"):
        steps.check(SessionCall("s", step=step))


@pytest.mark.parametrize("call", [SessionCall("s", start=True, step=2), SessionCall("", new=True, step=2)])
def test_a_start_is_the_first_step(call: SessionCall) -> None:
    with pytest.raises(SessionError) as caught:
        steps.check(call)
    assert caught.value.cause == "bad-step"


@given(st.lists(st.tuples(st.sampled_from(["new", "repeat", "other", "gap", "unnumbered"]), st.integers(0, 6))))
def test_any_interleaving_of_steps_and_repeats_against_an_oracle(requests: list[tuple[str, int]]) -> None:
    """The oracle is the list of the inputs that were applied: a step is in it once, at the place of its number."""
    copy: Copy | None = None
    replies: tuple[StoredReply, ...] = ()
    applied: list[bytes] = []
    for serial, (kind, back) in enumerate(requests):
        number: int | None = len(applied) + 1
        digest = b"%d" % serial
        if kind == "unnumbered":
            number = None
        elif kind == "gap":
            number = len(applied) + 2 + back
        elif kind != "new" and applied:
            number = max(1, len(applied) - back)
            digest = applied[number - 1] if kind == "repeat" else b"other"
        call = SessionCall("s", start=copy is None, step=number)
        try:
            if copy is None:
                steps.check(call)
                verdict: Verdict = steps.absent(call)
            else:
                verdict = steps.decide(copy, replies, call, digest)
        except SessionError as error:
            if copy is None:
                assert kind == "gap"
            elif number is not None and number <= len(applied):
                gone = number <= len(applied) - 4
                assert error.cause == ("reply-gone" if gone else "mismatch"), (number, applied)
                assert gone or applied[number - 1] != digest
            else:
                assert (error.cause, error.expected) == ("gap", len(applied) + 1)
            continue
        if isinstance(verdict, StoredReply):
            assert verdict.step == number
            assert applied[verdict.step - 1] == digest == verdict.digest
            continue
        assert number in (None, len(applied) + 1)
        applied.append(digest)
        copy = steps.advance(copy, verdict, Made("1", "f", 8, 100 + serial, False), 3)
        replies = kept_replies(replies, StoredReply(copy.step, digest, ()))
        assert copy.step == len(applied)
        assert [each.digest for each in replies] == applied[-4:]


def test_what_a_step_makes_of_a_copy() -> None:
    made = Made("2", "g", 16, 100, False)
    born = steps.advance(None, Life.CREATE, made, 5)
    assert born[:2] == (Phase.HELD, 5)
    assert (born.step, born.created, born.last_used, born.size, born.version, born.end) == (1, 100, 100, 16, "2", None)
    on = steps.advance(LIVE._replace(rewound=True), Life.GO_ON, made, 0)
    assert (on.since, on.incarnation, on.step, on.created, on.last_used, on.rewound) == (1, 77, 7, 10, 100, False)
    again = steps.advance(LIVE, Life.AGAIN, made, 0)
    assert (again.since, again.step, again.created) == (1, 1, 100)
    assert again.incarnation not in (0, 77)
    ended = steps.advance(LIVE, Life.GO_ON, made._replace(ends=True), 0)
    assert (ended.end, ended.size) == (End("ended", 100, 7), 0)


def tensor(name: str, array: np.ndarray, datatype: str = "FP32") -> Tensor:
    return Tensor(name, datatype, array)


def test_equal_inputs_have_equal_digests_in_any_order() -> None:
    one, two = tensor("a", np.arange(4, dtype=np.float32)), tensor("b", np.zeros((2, 2), np.float32))
    assert steps.digest_of([one, two]) == steps.digest_of([two, tensor("a", np.arange(4, dtype=np.float32))])


def test_a_large_input_has_its_digest_however_it_lies_in_memory() -> None:
    array = np.arange(2**17, dtype=np.float32).reshape(2, 256, 256)
    found = steps.digest_of([tensor("a", array)])
    assert steps.digest_of([tensor("a", np.asfortranarray(array))]) == found
    array[1, 1, 1] = 7
    assert steps.digest_of([tensor("a", array)]) != found


def test_whatever_differs_shows_in_the_digest() -> None:
    zeros = np.zeros((2, 2), np.float32)
    text = np.array([b"ab", b"c"], object)
    different = [
        [tensor("a", zeros)],
        [tensor("b", zeros)],
        [tensor("a", zeros.reshape(4))],
        [tensor("a", zeros + 1)],
        [tensor("a", zeros.view(np.int32), "INT32")],
        [tensor("a", zeros[:1]), tensor("b", zeros[:1])],
        [tensor("a", text, "BYTES")],
        [tensor("a", np.array([b"a", b"bc"], object), "BYTES")],
        [],
    ]
    assert len({steps.digest_of(inputs) for inputs in different}) == len(different)


def test_the_last_replies_are_kept_as_far_as_they_fit() -> None:
    def sized(step: int, size: int) -> StoredReply:
        return StoredReply(step, A, (Tensor("y", "UINT8", np.zeros(size, np.uint8)),))

    small = tuple(sized(step, 1) for step in range(1, 5))
    assert [each.step for each in kept_replies(small, sized(5, 1))] == [2, 3, 4, 5]
    half = KEPT_REPLY_BYTES // 2
    assert [each.step for each in kept_replies((sized(1, half), sized(2, half)), sized(3, half))] == [2, 3]
    assert [each.step for each in kept_replies(small, sized(5, KEPT_REPLY_BYTES + 1))] == [5]


def test_texts_count_with_all_their_bytes() -> None:
    def told(step: int) -> StoredReply:
        return StoredReply(step, A, (Tensor("y", "BYTES", np.array([b"t" * KEPT_REPLY_BYTES], object)),))

    assert told(1).size > KEPT_REPLY_BYTES
    assert apart(Copy(Phase.HELD, 1), (told(1),)) == (False, True)
    assert [reply.step for reply in kept_replies((told(1),), told(2))] == [2]


def test_names_that_clients_make_up_are_not_kept() -> None:
    tracemalloc.start()
    try:
        for number in range(20):
            digest_of([Tensor(f"{number}" + "x" * 2**20, "FP32", np.zeros(1, np.float32))])
        assert tracemalloc.get_traced_memory()[0] < 2**21
    finally:
        tracemalloc.stop()
