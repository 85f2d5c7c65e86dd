"""What is asked: token lengths, arrivals, prompts, as a seeded schedule (pure)."""

from giq.workload.arrivals import MAX_REQUESTS, arrival_times
from giq.workload.conversation import Conversation, ThinkTime, parse_think_time
from giq.workload.lengths import draw_lengths, mean_length
from giq.workload.prompts import prompt_token_ids
from giq.workload.schedule import FOLLOWS, Schedule, make_schedule
from giq.workload.shared_prefix import SharedPrefix, parse_shared_prefix
from giq.workload.trace import Trace, read_trace
from giq.workload.workload import Arrival, ClosedLoad, Load, OpenLoad, Sampling, Stop, Workload, parse_arrival

__all__ = [
    "Arrival",
    "ClosedLoad",
    "Conversation",
    "FOLLOWS",
    "Load",
    "MAX_REQUESTS",
    "OpenLoad",
    "Sampling",
    "Schedule",
    "SharedPrefix",
    "Stop",
    "ThinkTime",
    "Trace",
    "Workload",
    "arrival_times",
    "draw_lengths",
    "make_schedule",
    "mean_length",
    "parse_arrival",
    "parse_shared_prefix",
    "parse_think_time",
    "prompt_token_ids",
    "read_trace",
]
