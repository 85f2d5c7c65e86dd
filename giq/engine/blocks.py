"""The KV blocks that are free, in the order they are given out, and those whose content can still be used.

vLLM V1 (v1/core/block_pool.py): blocks are given from the head of the free queue. Full blocks come back to its end,
a sequence's last first, and keep their content until they are given again; one that is not full comes back to
the head. Most content is of no use to anybody else (unique prompts), so blocks are told apart only where it is: the
others are counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable


class Run:
    """Free blocks next to each other in the queue: of one keyed block, of one preempted sequence, or of nobody."""

    __slots__ = ("count", "kept", "key")

    def __init__(self, count: int, key: Hashable | None = None, kept: bool = False) -> None:
        self.count = count
        self.key = key
        self.kept = kept


class Block:
    """A block of known content: how many sequences use it, and its place in the queue while none does."""

    __slots__ = ("key", "run", "users")

    def __init__(self, key: Hashable) -> None:
        self.key = key
        self.users = 1
        self.run: Run | None = None


class BlockPool:
    """*size* blocks; `free` of them are free. A block of `units` pieces (layer groups) is keyed as one."""

    def __init__(self, size: int, units: int) -> None:
        self.size = self.free = size
        self._units = units
        self._queue: deque[Run] = deque()  # only while something in it is kept; else `free` says it all
        self._kept = 0
        self._known: dict[Hashable, Block] = {}

    def take(self, count: int) -> None:
        """Give out *count* blocks from the head of the queue: the content of those is lost."""
        self.free -= count
        if self._kept:
            self._evict(count)

    def give(self, count: int, first: int = 0) -> None:
        """*count* blocks of no further use come back, *first* of them to the head of the queue."""
        self.free += count
        if not self._kept:
            return
        if first:
            self._queue.appendleft(Run(first))
        last = self._queue[-1]
        if last.kept:
            self._queue.append(Run(count - first))
        else:
            last.count += count - first

    def keep(self, count: int) -> Run:
        """*count* blocks come back that their sequence, and nobody else, may want again."""
        run = Run(count, kept=True)
        self._append(run)
        return run

    def take_kept(self, run: Run, most: int) -> int:
        """Take up to *most* of a kept run again, its first ones; the rest of them is of no use. How many."""
        taken = min(run.count, most)
        self.free -= taken
        run.count -= taken
        if run.kept:
            self._forget(run)
        return taken

    def find(self, key: Hashable) -> Block | None:
        """The block with that content, used or free."""
        return self._known.get(key)

    def use(self, block: Block) -> None:
        """One sequence more uses *block*; where it was free it leaves the queue."""
        block.users += 1
        if block.run is not None:
            self.free -= self._units
            block.run.count = 0
            block.run.key = None
            self._forget(block.run)
            block.run = None

    def name(self, key: Hashable) -> Block | None:
        """A block that its first user has just taken is *key* from now on; None where another block is already."""
        if key in self._known:
            return None
        block = self._known[key] = Block(key)
        return block

    def leave(self, block: Block) -> None:
        """One sequence fewer uses *block*; after the last it is free and its content is kept."""
        block.users -= 1
        if not block.users:
            block.run = Run(self._units, block.key, kept=True)
            self._append(block.run)

    def _append(self, run: Run) -> None:
        if not self._kept:
            self._queue.clear()
            self._queue.append(Run(self.free))
        self._kept += 1
        self._queue.append(run)
        self.free += run.count

    def _forget(self, run: Run) -> None:
        run.kept = False
        self._kept -= 1

    def _evict(self, count: int) -> None:
        queue = self._queue
        while count and self._kept:
            run = queue[0]
            taken = min(run.count, count)
            run.count -= taken
            count -= taken
            if taken and run.key is not None:  # a part of a block is no use
                del self._known[run.key]
                run.key = None
                self._forget(run)
            if not run.count:
                queue.popleft()
                if run.kept:
                    self._forget(run)
