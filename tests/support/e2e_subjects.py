"""The checker's model and silero-vad side by side: each fault comes to the services of both in the same moment."""

import itertools
import re
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

from tests.faults.round import clean
from tests.faults.speech import SPEECH
from tests.faults.subject import LEDGER
from tests.support import e2e_room, e2e_site
from tests.support.e2e_moves import Asked
from tests.support.e2e_service import ROOT
from tests.support.e2e_site import Site
from tests.support.e2e_stateful import Stateful, spec, wait_for_doors

PULSES = 24
STREAMS = 8
"""Pulses of silero-vad: few, as they have their part of the machine on which the ledger's pauses are timed."""
_END_SECONDS = 90
T = TypeVar("T")
P = ParamSpec("P")


@dataclass(frozen=True)
class Both:
    """A service of each subject, in one namespace."""

    ledger: Stateful
    speech: Stateful

    def each(self, act: Callable[Concatenate[Stateful, P], T], *given: P.args, **named: P.kwargs) -> tuple[T, T]:
        """Does the same to both at the same time: (what came of the ledger, of silero-vad)."""
        with ThreadPoolExecutor(2) as pool:
            ledger, speech = (pool.submit(act, service, *given, **named) for service in (self.ledger, self.speech))
            return ledger.result(), speech.result()

    def apply(self, site: Site, **fields: Any) -> None:
        """Applies the spec of the first version of both; `fields` are those of a spec and win."""
        self.each(lambda service: service.apply(**spec(site, service.name, **fields)))

    @contextmanager
    def asked(self, title: str, pulses: int = PULSES, streams: int = STREAMS) -> Iterator[tuple[Asked, Asked]]:
        """The session checker's clients ask while the block runs; after it there is a verdict on each subject.

        `pulses` of the ledger and `streams` of silero-vad; 0: nobody asks that one, and of it there is no verdict.

        Raises:
            AssertionError: a step was lost, doubled or reordered, or a replica's log holds a traceback.
        """
        both = Asked(LEDGER), Asked(SPEECH)
        # It stays until the next run: `python -m tests.faults --check` judges it anew.
        folder = clean(ROOT / "build" / "e2e" / re.sub(r"[^a-z0-9]+", "-", title.lower()))
        module = [sys.executable, "-m", "tests.support.e2e_sessions", secrets.token_hex(4), str(folder)]
        counts = {self.ledger: pulses, self.speech: streams}
        services = [(each.name, each.host, str(count)) for each, count in counts.items() if count]
        argv = self.ledger.cluster.command(*module, *itertools.chain(*services))
        with subprocess.Popen(
            argv, cwd=ROOT, env=self.ledger.cluster.env(), stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            try:
                assert process.stdout.readline() == "asking\n", "\n".join(self.each(Stateful.account))
                yield both
                process.terminate()
                process.communicate(timeout=_END_SECONDS)
            finally:
                process.kill()
        assert process.returncode == 0, "the clients failed"
        for asked, count in zip(both, counts.values(), strict=True):
            if count:
                asked.read(folder / asked.subject.name)
                asked.check(title)
        assert not (found := [line for lines in self.each(Stateful.tracebacks) for line in lines]), "\n".join(found)


@contextmanager
def made(site: Site, replicas: int, **fields: Any) -> Iterator[Both]:
    """Both with so many replicas in a namespace of their own; `fields` are those of a spec and win."""
    namespace = f"test-{secrets.token_hex(4)}"
    e2e_site.make_namespace(site.cluster, namespace)
    e2e_room.halve_requests(site.cluster, namespace)
    both = Both(*(Stateful(site.cluster, namespace, subject.name) for subject in (LEDGER, SPEECH)))
    both.apply(site, replicas=replicas, **fields)
    both.each(Stateful.settled, replicas)
    both.each(wait_for_doors)
    yield both
    site.cluster.kubectl("delete", "namespace", namespace, "--wait=false")
