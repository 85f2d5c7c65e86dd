"""What an engine that always has work completes, from the tokens of a short window."""

from __future__ import annotations

import math

from giq.curve.point import Estimate, Point
from giq.documents import replace
from giq.engine.steady_state import SteadyState

_Z90 = 1.645


def with_work(point: Point, state: SteadyState, mean_lengths: tuple[float, float]) -> Point:
    """*point* of an engine that had work all the time, with its `work_rps` at the law's mean lengths.

    Work is conserved: prompts that happen to be more in the window leave less time for outputs. So what completes is
    the mean of the requests that the prompts read and the outputs made amount to, each weighted with its share of a
    step's time; that share is known here, where `giq.curve.work` must fit it. What is left is the chance in the
    prompts that begin in the window, in number (Poisson) and length.
    """
    share = state.prompt_share(state.most_running)
    prompts, outputs = (tps / mean for tps, mean in zip((point.input_tps, point.output_tps), mean_lengths, strict=True))
    rate = share * prompts + (1 - share) * outputs
    width = rate * _Z90 * share / math.sqrt(max(1.0, prompts * point.window_s))
    work = Estimate(value=rate, lo=max(rate - width, 0.0), hi=rate + width)
    return replace(point, work_rps=work, prompt_share=share)
