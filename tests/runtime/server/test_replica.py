"""What the peer port takes, which is more than clients may send."""

from mooring_runtime.frontends.http import parser
from mooring_runtime.server.peer_client import IDLE
from mooring_runtime.server.replica import peer_limits

MIB = 2**20


def test_the_peer_port_takes_what_a_client_may_send_and_any_session() -> None:
    small = peer_limits(parser.Limits(body_bytes=64 * MIB), 64 * MIB)
    assert small.body_bytes >= 4 * 64 * MIB, "one byte of JSON may bring four of a tensor"
    large = peer_limits(parser.Limits(body_bytes=MIB), 1024 * MIB)
    assert large.body_bytes >= (1024 + 200) * MIB, "its last reply is kept, however large it is"


def test_who_asks_closes_a_connection_that_rests_and_not_who_answers() -> None:
    assert peer_limits(parser.Limits(idle_timeout=0.1), MIB).idle_timeout > 2 * IDLE
    assert peer_limits(parser.Limits(idle_timeout=5000.0), MIB).idle_timeout == 5000.0
