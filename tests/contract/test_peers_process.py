"""The operator asks and tells real replicas of the runtime, over real sockets."""

from pathlib import Path

import pytest

from mooring_operator.api.membership import Record
from mooring_operator.cluster.peers import PeerPod, Peers
from mooring_operator.facts import Key
from tests.support.peer_fleet import Fleet, fleet
from tests.support.state_models import accumulator

SERVICE = Key("models", "speech")
KEY = b"the key of the installation"
pytestmark = [pytest.mark.process, pytest.mark.timeout(60)]


def pods(replicas: Fleet) -> list[PeerPod]:
    return [PeerPod(ordinal, replicas.hosts[ordinal], str(ordinal)) for ordinal in range(len(replicas.hosts))]


async def test_reports_and_records_reach_each_other(tmp_path: Path) -> None:
    model, token = accumulator(tmp_path / "model.onnx"), tmp_path / "peer-token"
    token.write_text(Peers(KEY, port=1).token(SERVICE))
    with fleet(tmp_path, model, 2, None, peer_token_file=str(token)) as replicas:
        async with Peers(KEY, replicas.port) as peers:
            heard = await peers.hear(SERVICE, pods(replicas), None)
            assert heard.silent == {}
            assert [(report.ordinal, report.boot, report.record) for report in heard.reports.values()] == [
                (0, 1, None),
                (1, 1, None),
            ]
            assert len({report.store for report in heard.reports.values()}) == 2
            stores = {ordinal: report.store for ordinal, report in heard.reports.items()}
            record = Record(1, 2, (), stores)
            assert await peers.tell(SERVICE, pods(replicas), record) == {}
            heard = await peers.hear(SERVICE, pods(replicas), record)
            assert [(report.record, report.clean) for report in heard.reports.values()] == [(record, True)] * 2
            # An address that has gone to another replica: nothing is done there.
            wrong = PeerPod(1, replicas.hosts[0], "moved")
            [why] = (await peers.tell(SERVICE, [wrong], Record(9, 1, (2,), stores))).values()
            assert "421" in why
            heard = await peers.hear(SERVICE, [wrong], None)
            assert heard.silent == {1: "at its address answers ordinal 0"}
            assert (await peers.hear(SERVICE, pods(replicas), None)).reports[0].record == record
            replicas.kill(1)
            heard = await peers.hear(SERVICE, [*pods(replicas)[:1], PeerPod(1, replicas.hosts[1], "gone")], record)
            assert list(heard.reports) == [0]
            assert "does not answer" in heard.silent[1]
        async with Peers(b"another key", replicas.port) as others:
            heard = await others.hear(SERVICE, pods(replicas)[:1], None)
            assert "Secret 'speech-peer-token'" in heard.silent[0]
