"""Where processes listen, as the system tells it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from threading import Event, Thread

import psutil

Listener = tuple[str, int]
"""Address and port."""


@contextmanager
def watched(roots: Iterable[int], *, every: float = 0.5) -> Iterator[set[Listener]]:
    """Where these processes and their descendants listen meanwhile, looked up `every` so many seconds."""
    found: set[Listener] = set()
    over = Event()

    def look() -> None:
        while not over.wait(every):
            found.update(listeners(roots))

    watching = Thread(target=look)
    watching.start()
    try:
        yield found
    finally:
        over.set()
        watching.join()


def listeners(roots: Iterable[int]) -> set[Listener]:
    """Where these processes and their descendants listen now."""
    found: set[Listener] = set()
    for process in _family(roots):
        try:
            found |= {(c.laddr.ip, c.laddr.port) for c in process.net_connections("tcp") if c.status == "LISTEN"}
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def exposed(found: Iterable[Listener]) -> set[Listener]:
    """Those that other machines may reach."""
    return {(address, port) for address, port in found if not _is_loopback(address)}


def _is_loopback(address: str) -> bool:
    ip = ip_address(address)
    return (getattr(ip, "ipv4_mapped", None) or ip).is_loopback


def _family(roots: Iterable[int]) -> Iterator[psutil.Process]:
    for root in roots:
        try:
            process = psutil.Process(root)
            yield from [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            continue
