"""An open load on an engine that has been under it for long: what is sent, and when it is looked at."""

from __future__ import annotations

import math
from dataclasses import dataclass

from giq.curve.window import Window, choose_window
from giq.engine.even_draws import even
from giq.engine.simulation import Simulation, simulate
from giq.engine.spec import EngineSpec
from giq.engine.steady_state import SteadyState
from giq.workload.schedule import Schedule, make_schedule
from giq.workload.sessions import settling_s
from giq.workload.trace import Trace
from giq.workload.warm_start import begun
from giq.workload.workload import Load, OpenLoad, Stop, Workload

_LEAD_LIVES, _TAIL_LIVES = 0.5, 1.0
"""Mean lives of a request before the window, for what the fluid does not know to even out, and after it, so that those
in it have company to their end."""

_FULL_LIVES = 0.75
"""The window of a load that is too much, in the same unit: so long that what completes in it is of all kinds."""

_LEAST_LEAD = 0.1


@dataclass(frozen=True)
class Served:
    """What one engine serves: a schedule, how many of its first requests it had begun before, and when to look.

    Without a window it is found in the records, as that of a measurement.
    """

    schedule: Schedule
    begun: int = 0
    window: Window | None = None

    def by(self, spec: EngineSpec) -> Simulation:
        """*spec* serves it."""
        return simulate(spec, self.schedule, self.begun)

    def looked_at(self, run: Simulation, workload: Workload) -> Window:
        """The window of the point that *run* is."""
        return self.window or choose_window(run.requests, self.schedule.load, workload.arrival)


@dataclass(frozen=True)
class Draws:
    """What is drawn for a load: from which law, seed and trace. `lengths` is a large sample of the workload's."""

    workload: Workload
    seed: int
    trace: Trace | None
    lengths: Schedule

    def schedule(self, load: Load, stop: Stop) -> Schedule:
        """As a measurement would send it."""
        return make_schedule(self.workload, load, stop, self.seed, self.trace)

    def settled(self, spec: EngineSpec, load: OpenLoad, wanted: int) -> Served:
        """About *wanted* requests in the window, to *spec* in the state where it settles under *load*.

        Where it never does, since the load is more than it completes, it begins with as many requests as run at most.
        """
        state = SteadyState.of(spec, self.lengths)
        running = state.running(load.rate_rps)
        if self.workload.conversation is not None or self.workload.arrival.law == "trace":
            return self._found_later(load, running, wanted)
        lives = load.rate_rps / state.highest_rps * running
        if lives < running:
            lead, tail = round(_LEAD_LIVES * running), round(_TAIL_LIVES * running)
        else:  # it is full and stays so
            wanted, tail = max(wanted, round(_FULL_LIVES * lives)), 0
            lead = round(_LEAD_LIVES * lives)
        lead = max(lead, math.ceil(_LEAST_LEAD * wanted))
        schedule = even(self.schedule(load, Stop(requests=lead + wanted + tail + 1)), self.lengths)
        assert schedule.arrival_ns is not None  # noqa: S101 - open loop
        first, end = (int(schedule.arrival_ns[place]) for place in (lead, lead + wanted))
        window = Window(first, max(end, first + 1), True, "begun where it settles")
        return Served(begun(schedule, running), running, window)

    def _found_later(self, load: OpenLoad, running: int, wanted: int) -> Served:
        """Where the window depends on what comes out: it begins after a life of most, at most half-way."""
        wanted = round(1.1 * wanted)
        number = max(wanted + min(running, wanted), math.ceil(load.rate_rps * settling_s(self.workload)))
        return Served(begun(self.schedule(load, Stop(requests=number)), running), running)
