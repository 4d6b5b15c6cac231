import pytest

from mooring_runtime.errors import AddressRefused
from mooring_runtime.fetcher.addresses import denied, permitted, resolve


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.0.1",
        "0.0.0.0",
        "0.1.2.3",
        "169.254.169.254",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "ff02::1",
        "fd00:ec2::254",
        "fd20:ce::254",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "2002:7f00:1::",
    ],
)
def test_denied(address: str) -> None:
    assert denied(address) is not None


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "8.8.8.8", "fd00::1", "2606:4700::1", "64:ff9b::808:808"],
)
def test_permitted(address: str) -> None:
    assert denied(address) is None


def test_one_bad_address_condemns_the_host() -> None:
    with pytest.raises(AddressRefused) as caught:
        permitted("h.test", ["8.8.8.8", "169.254.169.254"], lambda _: False)
    assert str(caught.value) == (
        "host h.test has the address 169.254.169.254, which is not fetched from: link-local, as metadata services are"
    )


def test_an_exception_is_only_what_it_says() -> None:
    def allow(address: str) -> bool:
        return address == "127.0.0.1"

    assert permitted("h.test", ["127.0.0.1"], allow) == ["127.0.0.1"]
    with pytest.raises(AddressRefused):
        permitted("h.test", ["127.0.0.2"], allow)


def test_a_number_in_disguise_is_resolved_before_it_is_judged() -> None:
    # The C library takes these for 127.0.0.1, so a check of the text alone would let them pass.
    for disguise in ("127.1", "2130706433", "0x7f000001"):
        assert resolve(disguise, 443) == ["127.0.0.1"]
