"""The membership record and the report: what the operator writes the runtime reads, and the other way round."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring_operator.api import membership, names
from mooring_operator.cluster import peers
from mooring_runtime.frontends.http import peers as peer_port
from mooring_runtime.sessions import membership as runtime_membership
from mooring_runtime.sessions import messages, record
from mooring_runtime.sessions.messages import Answer, Introduce
from mooring_runtime.settings import ServeSettings, settings_of
from tests.support.member_replica import Replica, Volume

SIZES = st.integers(1, 1000)
STORES = st.text("0123456789abcdef", min_size=16, max_size=16)
RECORDS = st.builds(
    membership.Record,
    epoch=st.integers(1, 2**52),
    size=SIZES,
    past=st.lists(SIZES, max_size=3, unique=True).map(lambda past: tuple(sorted(past))),
    stores=st.dictionaries(st.integers(0, 999), STORES, max_size=4),
    lost=st.lists(STORES, max_size=2).map(tuple),
)
COUNT = st.integers(0, 2**40)


def fields(value: object) -> dict[str, Any]:
    return {name: getattr(value, name) for name in ("epoch", "size", "past", "stores", "lost")}


@given(RECORDS)
def test_the_runtime_reads_what_the_operator_keeps(kept: membership.Record) -> None:
    read = record.parse(kept.to_json().encode())
    assert fields(read) == fields(kept)
    assert read.settled == kept.settled
    # As it comes to the peer port.
    sent = messages.decode(names.PEER_PATH_MEMBERSHIP, kept.to_json().encode())
    assert sent == Introduce(read)


@given(RECORDS)
def test_the_operator_reads_what_the_runtime_adopts(kept: membership.Record) -> None:
    written = record.parse(kept.to_json().encode()).to_json()
    assert membership.Record.parse(written.decode()) == kept
    # Byte for byte: two texts of one record would be two contents of one epoch to whoever compares them.
    assert written.decode() == kept.to_json()


@given(st.none() | RECORDS, st.booleans(), st.lists(COUNT, min_size=6, max_size=6), STORES, st.integers(0, 99), COUNT)
def test_the_operator_reads_the_runtimes_report(
    kept: membership.Record | None, clean: bool, counts: list[int], store: str, ordinal: int, boot: int
) -> None:
    adopted = None if kept is None else record.parse(kept.to_json().encode())
    told = runtime_membership.Report(ordinal, store, boot, adopted, clean, *counts)
    for text in (
        json.dumps(messages.report_document(told)).encode(),
        messages.encode_answer(Answer(0, None, told)),
    ):
        read = membership.Report.of(json.loads(text))
        assert (read.ordinal, read.store, read.boot, read.record, read.clean) == (ordinal, store, boot, kept, clean)
        assert [read.held, read.ended, read.foreign, read.unreadable, read.bytes, read.quarantined] == counts


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "{}", '{"epoch": 0, "size": 1}', '{"epoch": 1, "size": true}', '{"epoch": 1, "size": "2"}']
)
def test_both_refuse_what_is_no_record(text: str) -> None:
    with pytest.raises(ValueError, match="membership record"):
        membership.Record.parse(text)
    with pytest.raises(ValueError, match="membership record"):
        record.parse(text.encode())


def test_ports_paths_and_headers_are_the_same() -> None:
    defaults = {each.variable: each.default for each in settings_of(ServeSettings)}
    assert defaults[names.ENV_PEER_PORT] == names.PEER_PORT
    assert messages.PATHS[Introduce] == names.PEER_PATH_MEMBERSHIP
    assert peer_port.TO.decode() == names.HEADER_PEER_TO
    assert peers.TIMEOUT.total is not None


def test_the_replica_of_the_operators_tests_reports_as_the_runtime_does() -> None:
    played = Replica(3, "127.0.0.1", "token", Volume(sessions=2), lambda _: False, {}, [])
    played.volume.record = membership.Record(4, 2, (4,), {3: played.volume.store})
    adopted = record.parse(played.volume.record.to_json().encode())
    real = runtime_membership.Report(3, played.volume.store, 0, adopted, False, 2, 0, 2, 0, 200)
    assert played.report() == messages.report_document(real)
