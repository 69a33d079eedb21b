"""The life of a pool in thirty lines: a real llama.cpp server from start to drain. Run it with python."""

import asyncio
import json
import tempfile
import urllib.request
from pathlib import Path

from engine_kit.command import make_llama_server
from engine_kit.tiny_model import make_tiny_model
from pool_lifecycle import EngineSpec, PoolManager, PoolSpec


def complete(url: str, prompt: str) -> str:
    """Ask the engine for a few tokens."""
    body = json.dumps({"prompt": prompt, "n_predict": 16}).encode()
    with urllib.request.urlopen(f"{url}/completion", body, timeout=30) as answer:
        return str(json.load(answer)["content"])


async def main(folder: Path) -> None:
    """Start, work, change the model, drain; say why it is as it is at each point."""
    one, two = make_tiny_model(folder / "one.gguf", seed=1), make_tiny_model(folder / "two.gguf", seed=2)
    engine = EngineSpec(str(make_llama_server(folder / "llama-server")), profile="llama.cpp")
    async with PoolManager(folder / "state") as manager:
        pool = await manager.add(PoolSpec("chat", engine, model=f"file:{one}", slots=2))
        await pool.start()
        async with pool.lease(holder="req-17") as lease:
            text = await asyncio.to_thread(complete, lease.url, "hi")
            print(f"generation {lease.generation} says {text!r}")
        await pool.reload(f"file:{two}", drain_deadline=30)
        print(pool.explain())
        print(await pool.drain(deadline=5))
        print(pool.explain())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(Path(folder)))
