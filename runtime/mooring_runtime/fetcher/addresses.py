"""Where a model is never fetched from: this machine, this link, and the metadata services of clouds.

A user of the cluster chooses the address, the fetcher runs in the cluster's network: without this check a service
could be made to read a node's credentials. Private addresses are allowed, for model stores stand in private networks.
"""

import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from mooring_runtime.errors import AddressRefused

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], list[str]]

METADATA = (
    ip_network("100.100.100.200/32"),  # Alibaba
    ip_network("168.63.129.16/32"),  # Azure's wire server
    ip_network("192.0.0.192/32"),  # Oracle
    ip_network("fd00:ec2::/32"),  # AWS
    ip_network("fd20:ce::/32"),  # Google
)
"""Metadata services outside the link-local range 169.254.0.0/16, which is denied as a whole."""
_NAT64 = ip_network("64:ff9b::/96")


def denied(text: str) -> str | None:
    """Why this address is not fetched from; None when it may be.

    An IPv6 address that only wraps an IPv4 one (mapped, 6to4, Teredo, NAT64) is judged by the one inside as well.
    """
    address = ip_address(text.partition("%")[0])
    for each in (address, *_wrapped(address)):
        reason = _denied(each)
        if reason is not None:
            return reason
    return None


def _denied(address: Address) -> str | None:
    if any(address in network for network in METADATA):
        return "a cloud's metadata service"
    kinds = (
        (address.is_unspecified or address in ip_network("0.0.0.0/8"), "no host's address"),
        (address.is_loopback, "this machine's own"),
        (address.is_link_local, "link-local, as metadata services are"),
        (address.is_multicast, "multicast"),
        (address.is_reserved and address not in _NAT64, "reserved"),
    )
    return next((reason for holds, reason in kinds if holds), None)


def _wrapped(address: Address) -> list[Address]:
    if isinstance(address, IPv4Address):
        return []
    inside: list[Address] = [each for each in (address.ipv4_mapped, address.sixtofour) if each is not None]
    inside += list(address.teredo or ())
    if address in _NAT64:
        inside.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return inside


def resolve(host: str, port: int) -> list[str]:
    """Every address of a host, in the order to try them. Raises OSError when it has none."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def permitted(host: str, addresses: list[str], allow: Callable[[str], bool]) -> list[str]:
    """The addresses, when each may be fetched from. One that may not condemns the host: an honest one has none.

    `allow` makes exceptions; only tests, which have nothing but loopback, do. Raises AddressRefused.
    """
    for address in addresses:
        reason = denied(address)
        if reason is not None and not allow(address):
            raise AddressRefused(f"host {host} has the address {address}, which is not fetched from: {reason}")
    return addresses
