"""An exact server as a process of its own, that can be killed: `python -m tests.crash.serve LOG`.

It prints its URL, and notes in the file LOG when it finished each request of the load (ns, monotonic; one per line).
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from time import monotonic_ns

from tests.load.exact_server import Behaviour, ExactServer, Seen


async def serve(log: Path) -> None:
    """Serve until killed."""
    with log.open("a", buffering=1) as file:

        def note(seen: Seen) -> None:
            if int(seen.body["max_tokens"]) > 2:  # no probe
                file.write(f"{monotonic_ns()}\n")

        behave = ExactServer(behave=lambda seen, number: Behaviour(first_s=0.02, gap_s=0.005), on_finished=note)
        async with behave as server:
            print(server.url, flush=True)
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
