"""Names of replicas: one lookup at a time, its result for a moment, and nobody who waits for a DNS that is silent."""

import asyncio
import gc
import threading

import pytest

from mooring_runtime.server import peer_names
from mooring_runtime.server.peer_names import PeerNames


class Dns:
    """Answers when it is let; counts who asks."""

    def __init__(self) -> None:
        self.answers = ["10.0.0.1"]
        self.failure = ""
        self.asked = 0
        self.free = threading.Event()
        self.free.set()

    def __call__(self, host: str) -> list[str]:
        self.asked += 1
        assert self.free.wait(1.5)
        if self.failure:
            raise OSError(self.failure)
        return self.answers


async def test_who_asks_at_the_same_time_shares_a_lookup_and_its_result() -> None:
    dns = Dns()
    dns.free.clear()
    names = PeerNames(dns)
    asking = [asyncio.create_task(names.addresses("demo-0.peers")) for _ in range(5)]
    await asyncio.sleep(0)
    dns.free.set()
    assert await asyncio.gather(*asking) == [["10.0.0.1"]] * 5
    assert await names.addresses("demo-0.peers") == ["10.0.0.1"]
    assert dns.asked == 1


async def test_an_address_where_nobody_was_is_looked_up_anew() -> None:
    dns = Dns()
    names = PeerNames(dns)
    assert await names.addresses("demo-0.peers") == ["10.0.0.1"]
    dns.answers = ["10.0.0.2"]
    names.forget("demo-0.peers")
    assert await names.addresses("demo-0.peers") == ["10.0.0.2"]


async def test_an_address_is_not_used_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_names, "FRESH", 0.0)
    dns = Dns()
    names = PeerNames(dns)
    for _ in range(3):
        await names.addresses("demo-0.peers")
    assert dns.asked == 3


async def test_a_failure_is_told_and_not_kept() -> None:
    dns = Dns()
    dns.failure = "Temporary failure in name resolution"
    names = PeerNames(dns)
    with pytest.raises(OSError, match="Temporary failure"):
        await names.addresses("demo-0.peers")
    dns.failure, dns.answers = "", ["10.0.0.3"]
    assert await names.addresses("demo-0.peers") == ["10.0.0.3"]


async def test_a_lookup_that_nobody_waits_for_any_more_goes_on_without_a_complaint() -> None:
    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["message"]))
    dns = Dns()
    dns.failure = "Temporary failure in name resolution"
    dns.free.clear()
    names = PeerNames(dns)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await names.addresses("demo-0.peers")
    assert dns.asked == 1
    [lookup] = [thread for thread in threading.enumerate() if thread.name == "name of demo-0.peers"]
    dns.free.set()
    await asyncio.to_thread(lookup.join)
    await asyncio.sleep(0)
    gc.collect()
    assert told == []


async def test_a_silent_dns_holds_no_other_name_and_none_of_the_loops_threads() -> None:
    silent, quick = threading.Event(), ["10.0.0.9"]

    def dns(host: str) -> list[str]:
        if host != "quick":
            assert silent.wait(1.5)
        return quick

    names = PeerNames(dns)
    waiting = [asyncio.create_task(names.addresses(f"demo-{ordinal}")) for ordinal in range(40)]
    await asyncio.sleep(0)
    assert await names.addresses("quick") == quick
    assert await asyncio.to_thread(lambda: "served") == "served"
    silent.set()
    assert await asyncio.gather(*waiting) == [quick] * 40


async def test_an_address_needs_no_lookup() -> None:
    dns = Dns()
    assert await PeerNames(dns).addresses("127.0.0.1") == ["127.0.0.1"]
    assert await PeerNames(dns).addresses("::1") == ["::1"]
    assert dns.asked == 0


def test_the_machines_own_lookup_finds_addresses_once_and_says_what_no_name_is() -> None:
    assert "127.0.0.1" in peer_names.lookup("localhost")
    assert len(set(peer_names.lookup("localhost"))) == len(peer_names.lookup("localhost"))


async def test_what_is_no_name_is_an_error_of_its_own() -> None:
    with pytest.raises(OSError, match="is no name"):
        await PeerNames().addresses("a" * 70)
