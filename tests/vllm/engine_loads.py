"""The loads of engine_check.py: which are fitted, which predicted, and in which order all are measured."""

from __future__ import annotations

import random
from dataclasses import dataclass

from giq.catalog import Lengths
from giq.workload.workload import ClosedLoad, Load, OpenLoad, Workload, parse_arrival

SEED = 7
CPU_BLOCKS = 8192
"""KV blocks of 128 tokens in the 2 GiB that server.py gives vLLM."""


@dataclass(frozen=True)
class Trial:
    """One load: what is sent, how long a pass lasts, and whether the calibration may see it.

    What lasts long is measured `once`, all else in every pass.
    """

    name: str
    prompt: int
    output: int
    load: Load
    seconds: int
    fitted: bool = False
    arrival: str = "poisson"
    blocks: int = CPU_BLOCKS
    once: bool = False

    def workload(self) -> Workload:
        """Lengths spread evenly by half around their means, under the arrival law."""
        return Workload(
            input_tokens=spread(self.prompt), output_tokens=spread(self.output), arrival=parse_arrival(self.arrival)
        )

    def words(self, number: int) -> list[str]:
        """The same for `giq profile`; every pass has lengths and arrivals of its own."""
        load = self.load
        if isinstance(load, ClosedLoad):
            asked = ["--concurrency", str(load.concurrency)]
        else:
            asked = ["--request-rate", f"{load.rate_rps:g}", "--arrival", self.arrival]
        ranges = [f"uniform:{mean // 2}-{mean + mean // 2}" for mean in (self.prompt, self.output)]
        lengths = ["--input-tokens", ranges[0], "--output-tokens", ranges[1]]
        return [*asked, *lengths, "--duration", f"{self.seconds}s", "--seed", str(seed(number))]

    def key(self, number: int) -> str:
        """What a pass of it is called."""
        return f"{self.name} #{number}"


def seed(number: int) -> int:
    """That of a pass."""
    return SEED + number


def spread(mean: int) -> Lengths:
    """Even over half to one and a half times *mean*."""
    return Lengths(distribution="uniform", mean=mean, minimum=mean // 2, maximum=mean + mean // 2)


def closed(concurrency: int) -> ClosedLoad:
    """So many in flight."""
    return ClosedLoad(concurrency=concurrency)


def rate(rate_rps: float) -> OpenLoad:
    """So many a second."""
    return OpenLoad(rate_rps=rate_rps)


TRIALS = (
    Trial("alone", 64, 32, closed(1), 6, fitted=True),
    Trial("alone, long prompt", 512, 8, closed(1), 6, fitted=True),
    Trial("8 at once", 64, 32, closed(8), 6, fitted=True),
    Trial("32 at once", 64, 32, closed(32), 7, fitted=True),
    Trial("long contexts", 384, 48, closed(8), 7, fitted=True),
    Trial("mostly prompts", 256, 8, closed(16), 6, fitted=True),
    Trial("mostly answers", 32, 96, closed(24), 8, fitted=True),
    Trial("4 req/s", 64, 32, rate(4), 7, fitted=True),
    Trial("4 at once", 128, 48, closed(4), 8),
    Trial("16 at once, short", 96, 24, closed(16), 7),
    Trial("64 at once", 64, 32, closed(64), 9),
    Trial("3 req/s", 64, 32, rate(3), 9),
    Trial("bursts at 4 req/s", 64, 32, rate(4), 9, arrival="gamma:0.5"),
    Trial("even 2 req/s, long prompts", 256, 32, rate(2), 9, arrival="constant"),
    Trial("6 req/s, short", 32, 24, rate(6), 8),
    Trial("above the knee", 64, 32, rate(20), 9),
    Trial("long outputs", 32, 128, closed(12), 10),
    Trial("more than max_num_seqs", 32, 16, closed(160), 10),
    Trial("KV-bound", 200, 200, closed(48), 45, blocks=80, once=True),
)
"""What is measured, calibration first: prompts and answers, few and many at once, each with the others apart.

The server does about 500 tokens a second."""


def order(passes: int) -> list[tuple[Trial, int]]:
    """Which trial is measured when: all in each pass, shuffled anew, those that last long in the middle one only.

    The machine's speed drifts by a tenth and more within minutes: so that meets fitted and held-out loads alike.
    """
    draw = random.Random(SEED)
    found = []
    for number in range(passes):
        trials = [trial for trial in TRIALS if not trial.once or number == passes // 2]
        draw.shuffle(trials)
        found += [(trial, number) for trial in trials]
    return found
