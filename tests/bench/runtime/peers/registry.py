"""All servers of the comparison, ours first."""

from tests.bench.runtime.peers import kserve, mlserver, mooring, torchserve, triton
from tests.bench.runtime.peers.base import Peer

OURS = "mooring"
TRITON = "triton"
TRITONS = tuple(setting.name for setting in triton.settings())


def everyone() -> tuple[Peer, ...]:
    """The servers, each in the setting in which it is measured."""
    return (mooring.Mooring(), *triton.settings(), torchserve.TorchServe(), mlserver.MLServer(), kserve.KServe())
