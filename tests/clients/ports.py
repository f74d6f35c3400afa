"""Ports for the servers of tests. They are below those that the kernel gives to connections, and a process does not choose one twice
in a row: what was chosen is still free when its server starts."""

import itertools
import os
import socket

# The kernel gives out 32768 and more, unless it is told otherwise.
FIRST, END = 10_000, 32_000
# Processes of one run share them out.
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
EACH = (END - FIRST) // WORKERS
# Two runs at once seldom begin at the same port.
CHOSEN = itertools.cycle(FIRST + WORKER * EACH + (os.getpid() * 101 + turn) % EACH for turn in range(EACH))


def free_port():
    for port in itertools.islice(CHOSEN, EACH):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError(f"no port of {FIRST} to {END} is free")
