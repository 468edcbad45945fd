"""Which network addresses a dataset may be fetched from: those of the public internet, unless more is allowed."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from trainmaster.errors import DatasetRefusedError, StorageUnavailableError

Resolve = Callable[[str, int], Sequence[str]]
"""The numeric addresses of a host."""

_NOT_PUBLIC_V4 = [
    IPv4Network("192.0.0.0/24"),  # Oracle Cloud's metadata among it; older Pythons take it for global
    IPv4Network("192.88.99.0/24"),
    IPv4Network("168.63.129.16/32"),  # Azure's own services for its machines, at a public address
]
_UNICAST_V6 = IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = [
    IPv6Network("2001::/23"),
    IPv6Network("2002::/16"),  # 6to4: any IPv4 address can hide in it
    IPv6Network("2620:4f:8000::/48"),
    IPv6Network("3fff::/20"),
]
_NAT64 = IPv6Network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Whether a numeric address is an ordinary one of the public internet: not private, loopback, link-local (the
    metadata services of clouds among them), shared, multicast, reserved, or one of these in IPv6 clothing.

    Told by IANA's special-purpose registries: what is listed there is refused, and all IPv6 outside 2000::/3.
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        inner = IPv4Address(int(found) & 0xFFFFFFFF) if found in _NAT64 else found.ipv4_mapped
        if inner is None:
            return found in _UNICAST_V6 and found.is_global and not any(found in one for one in _NOT_PUBLIC_V6)
        found = inner
    special = found.is_multicast or found.is_reserved or any(found in one for one in _NOT_PUBLIC_V4)
    return found.is_global and not special


def resolve(host: str, port: int) -> Sequence[str]:
    """As this machine resolves names."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def reachable_addresses(host: str, port: int, *, allow_private: bool, resolve: Resolve = resolve) -> Sequence[str]:
    """The numeric addresses of the host, which are where to connect: a name asked again may lead elsewhere.

    Raises DatasetRefusedError when *any* of its addresses lies inside, or there are none.
    """
    try:
        addresses = list(resolve(host, port))
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN:
            raise StorageUnavailableError(f"The name {host} cannot be resolved now. Try again later.") from error
        raise DatasetRefusedError(f"There is no host {host}: {error.strerror}. Check the address.") from error
    except UnicodeError as error:
        raise DatasetRefusedError(f"{host!r} is no name of a host. Check the address.") from error
    inside = [address for address in addresses if not is_public(address)]
    if inside and not allow_private:
        raise DatasetRefusedError(
            f"{host} is at {inside[0]}, inside a private, local or reserved network, from which nothing is fetched."
            " Give a public address; or, where that is meant, set TRAINMASTER_ALLOW_PRIVATE_ADDRESSES=true on the worker."
        )
    if not addresses:
        raise DatasetRefusedError(f"There is no address of host {host}. Check the address.")
    return addresses
