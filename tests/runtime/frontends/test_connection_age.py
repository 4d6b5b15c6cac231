"""An old connection ends with its next answer, so that its client connects anew, perhaps to another replica."""

from mooring_runtime.frontends.http.exchange import retirement
from mooring_runtime.frontends.http.messages import Reply, Request, Respond
from mooring_runtime.frontends.http.parser import Limits
from tests.runtime.frontends.test_connection import Later, bodies, echo, get
from tests.support.serving import Line, http

AGE = 300.0
CLOSE = b"Connection: close\r\n"


def test_the_next_answer_of_an_old_connection_is_its_last() -> None:
    line = Line(echo, max_age=AGE)
    line.pass_time(AGE * 0.89)
    line.send(get("/young"))
    assert CLOSE not in line.received
    line.pass_time(AGE * 0.22)
    line.send(http("POST", "/old", b"old"))
    assert line.received.count(CLOSE) == 1
    assert bodies(line.received) == [b"/young", b"old"]
    assert line.transport.eof
    assert not line.connection.eof_received(), "the client hangs up, and so do we"


def test_a_connection_that_rests_is_not_closed_for_its_age() -> None:
    # A request may be on its way: who closes now loses it.
    line = Line(echo, Limits(idle_timeout=10 * AGE), max_age=AGE)
    line.pass_time(5 * AGE)
    assert not line.transport.closed
    line.send(get("/late"))
    assert bodies(line.received) == [b"/late"]
    assert line.transport.eof


def test_requests_that_came_in_time_are_answered_before_the_end() -> None:
    later = Later()
    line = Line(later, max_age=AGE)
    line.send(get("/1") + get("/2"))
    line.pass_time(2 * AGE)
    line.send(get("/3"))
    for target in (b"/3", b"/1", b"/2"):
        later.answer(target)
    assert bodies(line.received) == [b"/1", b"/2", b"/3"]
    assert line.received.index(CLOSE) > line.received.index(b"/2")
    assert not later.cancelled


def test_what_is_sent_behind_the_last_request_is_not_run() -> None:
    # Its client is told by `Connection: close` that nobody has seen it, and sends it again elsewhere.
    later = Later()
    line = Line(later, max_age=AGE)
    line.pass_time(2 * AGE)
    line.send(http("POST", "/last", b"1") + http("POST", "/behind", b"2"))
    assert list(later.waiting) == [b"/last"]
    later.answer(b"/last")
    line.send(http("POST", "/behind", b"3"))
    assert bodies(line.received) == [b"/last"]
    assert not line.transport.closed, "a reset might overtake the answer"
    line.pass_time(2)
    assert line.transport.aborted


def test_a_client_that_sends_no_more_gets_its_last_answer() -> None:
    later = Later()
    line = Line(later, max_age=AGE)
    line.pass_time(2 * AGE)
    line.send(get("/last"))
    assert line.connection.eof_received(), "the socket stays open for the answer"
    later.answer(b"/last")
    assert bodies(line.received) == [b"/last"]


def test_an_answer_in_pieces_goes_on_to_its_end() -> None:
    answers: list[Respond] = []

    def stream(request: Request, respond: Respond) -> None:
        answers.append(respond)
        respond(Reply(200, (b"one ",), more=True))

    line = Line(stream, max_age=AGE)
    line.send(get("/young"))
    line.pass_time(2 * AGE)
    answers[0](Reply(200, (b"two",)))
    assert line.received.endswith(b"two\r\n0\r\n\r\n")
    assert not line.transport.closed
    line.send(get("/old"))
    assert line.received.count(CLOSE) == 1
    answers[1](Reply(200, (b"end",)))
    assert line.received.endswith(b"end\r\n0\r\n\r\n")
    assert line.transport.eof


def test_without_an_age_no_connection_is_old() -> None:
    line = Line(echo, Limits(idle_timeout=1e9))
    line.pass_time(1e6)
    line.send(get("/a"))
    assert CLOSE not in line.received


def test_connections_that_came_together_do_not_go_together() -> None:
    ends = [retirement(100.0, AGE) for _ in range(200)]
    assert min(ends) >= 100 + 0.9 * AGE
    assert max(ends) <= 100 + 1.1 * AGE
    assert max(ends) - min(ends) > 0.1 * AGE
