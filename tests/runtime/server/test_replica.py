"""What the peer port takes, which is more than clients may send; and what the page of metrics says of membership."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from mooring_runtime.frontends.http import parser
from mooring_runtime.server.peer_client import IDLE
from mooring_runtime.server.replica import Replica, peer_limits
from mooring_runtime.sessions.budget import Limits
from mooring_runtime.sessions.copies import Copy, Kept, Phase
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.placement import place
from mooring_runtime.sessions.record import Record
from mooring_runtime.sessions.table import Table
from mooring_runtime.settings import ServeSettings
from tests.support.memory_store import Disk, MemoryStore
from tests.support.session_plane import settle

MIB = 2**20


def test_the_peer_port_takes_what_a_client_may_send_and_any_session() -> None:
    small = peer_limits(parser.Limits(body_bytes=64 * MIB), 64 * MIB)
    assert small.body_bytes >= 4 * 64 * MIB, "one byte of JSON may bring four of a tensor"
    large = peer_limits(parser.Limits(body_bytes=MIB), 1024 * MIB)
    assert large.body_bytes >= (1024 + 200) * MIB, "its last reply is kept, however large it is"


def test_who_asks_closes_a_connection_that_rests_and_not_who_answers() -> None:
    assert peer_limits(parser.Limits(idle_timeout=0.1), MIB).idle_timeout > 2 * IDLE
    assert peer_limits(parser.Limits(idle_timeout=5000.0), MIB).idle_timeout == 5000.0


async def test_the_page_tells_the_record_and_what_should_be_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret")
    keys = [Key("m", f"s{number}") for number in range(20)]
    away = [key for key in keys if place(key, 3) != 1]
    disk = Disk(record=Record(7, 3, (2,)), kept={key: Kept(Copy(Phase.HELD, 5, 1, 1)) for key in keys})
    table = Table(MemoryStore(disk), 2**20)
    settings = ServeSettings(ordinal=1, peer_address="http://s-{ordinal}:8081", peer_token_file=tmp_path / "token")
    replica = Replica(settings, table, cast(Any, SimpleNamespace(readable=None, unreadable=int)), Limits(), int)
    replica.membership.start()
    await settle()
    assert 0 < len(away) < len(keys)
    assert table.stats.membership() == {"epoch": 7, "size": 3, "foreign": len(away)}
    replica.membership.close()
    table.close()
