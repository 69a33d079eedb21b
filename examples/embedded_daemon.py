"""A daemon that embeds a PoolManager and may be killed at any time: its clients do not notice. `make daemon`.

Clients ask it for leases over a Unix socket, a line of JSON for each request and each answer; their work they
do on the engine itself. Its pool says `on_manager_exit="keep"`: whatever becomes of the daemon, the engine
goes on, and the next daemon knows it again, with its leases.

Without arguments this is a show (`daemon_show.py`): daemons are killed under load, and what fails is counted.
Its engine is a pretended one. With llama.cpp:

    python examples/embedded_daemon.py --llama path/to/llama-server MODEL.gguf
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

from daemon_show import show
from pool_lifecycle import EngineSpec, Pool, PoolManager, PoolSpec
from pool_lifecycle.errors import ManagerClosed, PoolLifecycleError

ENGINE = Path(__file__).resolve().parent / "engine_kit" / "moody_engine.py"

SOCKET = "daemon.socket"
"""In the folder that the daemon runs in, as the path of a socket must not be long."""

LEASE = 60.0
"""Seconds after which the lease of a client that is never heard of again ends."""

WAIT = 30.0
"""Seconds that a grant waits for a free slot, and a drain for leases."""


async def serve(spec: PoolSpec) -> None:
    """Answer requests until SIGTERM. Nothing needs to be done for the case that SIGKILL comes instead."""
    told_to_end = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told_to_end.set)
    async with PoolManager("state") as manager:
        pool = await manager.add(spec)  # as the last daemon left it
        server = await asyncio.start_unix_server(partial(converse, pool), SOCKET)
        await told_to_end.wait()
        server.close()


async def converse(pool: Pool, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one client, line by line, until one of the two goes."""
    with contextlib.closing(writer), contextlib.suppress(ConnectionError, asyncio.CancelledError):
        async for line in reader:
            try:
                answer = await carry_out(pool, json.loads(line))
            except ManagerClosed:
                break  # without an answer: the client will ask the next daemon
            except (ValueError, PoolLifecycleError) as error:
                answer = {"error": str(error)}
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()


async def carry_out(pool: Pool, request: object) -> dict[str, Any]:
    """Do what is asked. Who got no answer asks again, so that to do it twice must be no other than once."""
    match request:
        case {"do": "grant", "holder": str(holder)}:
            held = (one for one in pool.book.active() if one.holder == holder)
            lease = next(held, None) or await pool.grant(holder, ttl=LEASE, wait=WAIT)
            return {"token": lease.token, "url": lease.url}
        case {"do": "release", "token": int(token)}:
            return {"released": pool.release(token)}
        case {"do": "start"}:
            await pool.start()
        case {"do": "drain"}:
            await pool.drain(deadline=WAIT)
        case {"do": "status"}:
            pass
        case _:
            raise ValueError(f"grant (holder), release (token), start, drain or status, not {request!r}")
    status = pool.status()
    leases = {one.holder: one.token for one in status.leases}
    return {"state": status.state, "pid": status.pid, "url": status.url, "leases": leases}


def declared(llama: list[str] | None) -> PoolSpec:
    """The pool, of llama.cpp's server and a model, or of the pretended engine."""
    if llama:
        server, model = llama
        engine, reference = EngineSpec(server, profile="llama.cpp"), f"file:{model}"
    else:
        engine, reference = EngineSpec(sys.executable, args=("-I", str(ENGINE), "--port", "{port}")), None
    return PoolSpec("chat", engine, model=reference, slots=4, on_manager_exit="keep")


def main() -> int:
    """Be the daemon, or the show. Returns the exit code."""
    parser = argparse.ArgumentParser(description="A daemon that embeds pool-lifecycle.")
    parser.add_argument("--serve", action="store_true", help="be the daemon, in the current folder")
    parser.add_argument("--llama", nargs=2, metavar=("SERVER", "MODEL"), help="not the pretended engine")
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(declared(options.llama)))
        return 0
    llama = ("--llama", *map(os.path.abspath, options.llama)) if options.llama else ()
    return show((sys.executable, os.path.abspath(__file__), "--serve", *llama), SOCKET)


if __name__ == "__main__":
    sys.exit(main())
