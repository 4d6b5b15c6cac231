"""silero-vad on the cluster: what its own wrapper says in one piece, through a crash and a resize."""

import secrets
import threading
from contextlib import ExitStack, closing

import pytest

from examples.speech.client import Stream, chunks, voice
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.placement import place
from tests.cluster.processes import wait_until
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
    sounds = [list(chunks(voice(SECONDS, seed=index))) for index in range(STREAMS)]
    heard: list[list[float]] = [[] for _ in sounds]
    over, told = threading.Event(), list[str]()
    with site.cluster.door(service.name, service.namespace, 80) as address, ExitStack() as stack:
        streams = [Stream(f"http://{address}", speech.NAME, tell=told.append) for _ in sounds]
        for stream in streams:
            stack.enter_context(closing(stream))

        def play(index: int) -> None:
            while not over.wait(0.05):
                heard[index].append(streams[index].send(sounds[index][len(heard[index]) % len(sounds[index])]))

        threads = [threading.Thread(target=play, args=(index,)) for index in range(STREAMS)]
        for thread in threads:
            thread.start()
        try:
            wait_until(lambda: all(map(len, heard)), 30, "every stream to be heard")
            service.crash(place(Key(speech.NAME, streams[0].session), 2))
            service.scale(1)
            service.settled(1)
        finally:
            over.set()
            for thread in threads:
                thread.join()
    for sound, found in zip(sounds, heard, strict=True):
        expected = speech.own([sound[at % len(sound)] for at in range(len(found))])
        assert found == pytest.approx(expected, abs=speech.TOLERANCE)
    assert told, "no stream noticed the crash"
    print(f"\n{sum(map(len, heard))} chunks in {STREAMS} streams; {len(told)} notices, as {told[0]!r}")
    site.cluster.kubectl("delete", "namespace", service.namespace, "--wait=false")
