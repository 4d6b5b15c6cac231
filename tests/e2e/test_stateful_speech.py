"""silero-vad on the cluster: what its own wrapper says in one piece, through a crash and a resize."""

import secrets
import threading
from contextlib import closing

import pytest

from examples.speech.client import Stream, chunks, voice
from tests.demo import speech
from tests.support import e2e_site
from tests.support.e2e_site import Site
from tests.support.e2e_stateful import Stateful, spec, wait_for_doors

STREAMS = 6
SECONDS = 4.0
"""Of sound, which each stream repeats until the faults are over."""


def test_streams_hear_every_chunk_once_through_a_crash_and_a_move(site: Site) -> None:
    service = Stateful(site.cluster, f"test-{secrets.token_hex(4)}", speech.NAME)
    e2e_site.make_namespace(site.cluster, service.namespace)
    service.apply(**spec(site, "speech", replicas=2))
    service.settled(2)
    wait_for_doors(service)
    heard: dict[int, list[float]] = {}
    over, told = threading.Event(), list[str]()
    with site.cluster.door(service.name, service.namespace, 80) as address:

        def play(index: int) -> None:
            sound = list(chunks(voice(SECONDS, seed=index)))
            heard[index], at = [], 0
            with closing(Stream(f"http://{address}", speech.NAME, tell=told.append)) as stream:
                while not over.wait(0.05):
                    heard[index].append(stream.send(sound[at % len(sound)]))
                    at += 1

        threads = [threading.Thread(target=play, args=(index,)) for index in range(STREAMS)]
        for thread in threads:
            thread.start()
        try:
            service.crash(0)
            service.scale(1)
            service.settled(1)
        finally:
            over.set()
            for thread in threads:
                thread.join()
    for index, found in heard.items():
        sound = list(chunks(voice(SECONDS, seed=index)))
        expected = speech.own([sound[at % len(sound)] for at in range(len(found))])
        assert found == pytest.approx(expected, abs=speech.TOLERANCE)
    assert told, "no stream noticed the crash"
    print(f"\n{sum(map(len, heard.values()))} chunks in {STREAMS} streams; {len(told)} notices, as {told[0]!r}")
    site.cluster.kubectl("delete", "namespace", service.namespace, "--wait=false")
