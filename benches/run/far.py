"""A TCP relay that holds back each request for a time that its method has: a storage that is far away, or slow.

    python far.py ENDPOINT HEAD=20 PUT=60      (milliseconds; other methods pass at once)

Prints its own port, and relays from 127.0.0.1 until its standard input ends. It is for requests whose head arrives in one piece,
each after the response to the one before."""

import asyncio
import contextlib
import sys
import urllib.parse

PIECE = 65_536


async def requests(reader, writer, waits):
    while data := await reader.read(PIECE):
        if wait := waits.get(data.partition(b" ")[0]):
            await asyncio.sleep(wait)
        writer.write(data)
        await writer.drain()
    writer.close()


async def responses(reader, writer):
    while data := await reader.read(PIECE):
        writer.write(data)
        await writer.drain()
    writer.close()


async def main(endpoint, *waits):
    target = urllib.parse.urlsplit(endpoint)
    waits = {method.encode(): float(wait) / 1_000 for method, _, wait in (one.partition("=") for one in waits)}

    async def relay(near_reader, near_writer):
        far_reader, far_writer = await asyncio.open_connection(target.hostname, target.port)
        ways = requests(near_reader, far_writer, waits), responses(far_reader, near_writer)
        # At the end, connections are open that clients keep.
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*ways, return_exceptions=True)

    server = await asyncio.start_server(relay, "127.0.0.1", 0, backlog=1_024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
