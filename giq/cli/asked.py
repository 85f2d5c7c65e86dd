"""Options that several commands share, and what their words mean."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

from giq.errors import UsageError
from giq.units import parse_duration, parse_numbers, parse_percentile

if TYPE_CHECKING:
    from giq.catalog import Catalog
    from giq.catalog.use_cases import Lengths
    from giq.curve.targets import Target
    from giq.workload.trace import Trace
    from giq.workload.workload import Load, Stop, Workload

WORKLOAD, TARGETS, SERVER, LOADS, OUTPUT = "Workload", "Targets", "Server", "Loads", "Output"

OutputForm = Literal["table", "wide", "json", "yaml", "csv"]
OutputOption = Annotated[
    OutputForm, typer.Option("--output", "-o", help="Form of what is printed.", rich_help_panel=OUTPUT)
]
UseCaseOption = Annotated[
    str | None, typer.Option("--use-case", help="A named workload (giq use-cases list).", rich_help_panel=WORKLOAD)
]
InputOption = Annotated[
    str | None,
    typer.Option(
        "--input-tokens",
        help="Prompt lengths, prefix included: 512, uniform:64-512, normal:512,128 or lognormal:512,0.7.",
        rich_help_panel=WORKLOAD,
    ),
]
OutputTokensOption = Annotated[
    str | None, typer.Option("--output-tokens", help="Output lengths, written alike.", rich_help_panel=WORKLOAD)
]
ArrivalOption = Annotated[
    str,
    typer.Option(
        "--arrival",
        help="Arrival law: poisson, constant, gamma:K, trace:FILE, or ramp:FROM-TO in req/s (ramp:2-20,constant), "
        "which sets the rate itself and is no steady load.",
        rich_help_panel=WORKLOAD,
    ),
]
PrefixOption = Annotated[
    str | None,
    typer.Option(
        "--shared-prefix",
        help="Prompts begin with one of some prefixes: TOKENS:PREFIXES, like 512:8 or 512:8,zipf:1.1.",
        rich_help_panel=WORKLOAD,
    ),
]
TurnsOption = Annotated[
    str | None,
    typer.Option(
        "--turns",
        help="Conversations of so many turns, like 4 or uniform:2-6; each prompt is the history and as much anew. "
        "Rates count requests, --concurrency conversations.",
        rich_help_panel=WORKLOAD,
    ),
]
ThinkOption = Annotated[
    str | None,
    typer.Option(
        "--think-time",
        help="Pause between an answer and the next turn: 5s, uniform:1s-10s, exponential:5s or lognormal:5s,0.7.",
        rich_help_panel=WORKLOAD,
    ),
]
TtftOption = Annotated[
    str | None,
    typer.Option("--target-ttft", help="Time to first token, like 300ms.", rich_help_panel=TARGETS),
]
TpotOption = Annotated[
    str | None,
    typer.Option("--target-tpot", help="Time per output token after the first.", rich_help_panel=TARGETS),
]
ItlOption = Annotated[
    str | None, typer.Option("--target-itl", help="Gap between tokens, pooled.", rich_help_panel=TARGETS)
]
NtpotOption = Annotated[
    str | None, typer.Option("--target-ntpot", help="Latency / output tokens.", rich_help_panel=TARGETS)
]
LatencyOption = Annotated[
    str | None, typer.Option("--target-latency", help="End-to-end latency.", rich_help_panel=TARGETS)
]
PercentileOption = Annotated[
    str, typer.Option("--percentile", help="Percentile of every target.", rich_help_panel=TARGETS)
]
ResultsOption = Annotated[Path, typer.Option("--results-dir", help="Where runs are kept.", rich_help_panel=OUTPUT)]
EngineArgOption = Annotated[
    list[str] | None,
    typer.Option("--engine-arg", help="An engine argument K=V; may be repeated.", rich_help_panel=SERVER),
]

DEFAULT_USE_CASE = "chatbot"


def lengths_of(text: str, option: str) -> Lengths:
    """Token lengths from words: `512`, `uniform:64-512`, `normal:512,128`, `lognormal:512,0.7`.

    Raises:
        UsageError: anything else.
    """
    from giq.catalog.use_cases import Lengths

    count, number = r"([1-9]\d*)", r"(\d+(?:\.\d+)?)"
    if re.fullmatch(count, text):
        return Lengths(mean=int(text))
    even = re.fullmatch(f"uniform:{count}-{count}", text)
    if even and int(even[1]) <= int(even[2]):
        low, high = int(even[1]), int(even[2])
        return Lengths(distribution="uniform", mean=(low + high) / 2, minimum=low, maximum=high)
    bell = re.fullmatch(f"(normal|lognormal):{number},{number}", text)
    if bell and float(bell[2]) > 0:
        kind: Literal["normal", "lognormal"] = "normal" if bell[1] == "normal" else "lognormal"
        return Lengths(distribution=kind, mean=float(bell[2]), spread=float(bell[3]))
    raise UsageError(
        f"{text!r} for {option} is no number above zero, nor a law of such",
        hint="Like 512, uniform:64-512, normal:512,128 or lognormal:512,0.7.",
    )


class Sharing(NamedTuple):
    """What requests have in common, in the command line's words: prefixes, turns of a conversation, pauses between."""

    prefix: str | None = None
    turns: str | None = None
    think_time: str | None = None


NOTHING_SHARED = Sharing()


def workload_of(
    catalog: Catalog,
    use_case: str | None,
    lengths: tuple[str | None, str | None],
    arrival: str,
    sharing: Sharing = NOTHING_SHARED,
) -> tuple[Workload, Trace | None]:
    """The workload that the words describe; without any, the chatbot use case. A trace brings its own lengths.

    Raises:
        UsageError: unknown words, only one of the two lengths without a use case, pauses without turns, turns of a
            trace, or a prefix that leaves nothing of the prompts.
    """
    workload, trace = _alone(catalog, use_case, lengths, arrival)
    return _with_prefix(_with_turns(workload, sharing), sharing), trace


def _with_turns(workload: Workload, sharing: Sharing) -> Workload:
    from giq.documents import replace
    from giq.workload.conversation import Conversation, parse_think_time

    turns = lengths_of(sharing.turns, "--turns") if sharing.turns else None
    if turns is None or (turns.distribution, turns.mean) == ("fixed", 1):
        if sharing.think_time:
            raise UsageError("--think-time needs turns to think between", hint="Like --turns 4 --think-time 5s.")
        return workload
    if workload.arrival.law == "trace":
        raise UsageError("a trace has its own requests, not conversations", hint="Leave --turns or the trace out.")
    talk = Conversation(turns=turns)
    if sharing.think_time:
        talk = Conversation(turns=turns, think=parse_think_time(sharing.think_time))
    return replace(workload, conversation=talk)


def _with_prefix(workload: Workload, sharing: Sharing) -> Workload:
    from giq.documents import replace
    from giq.workload.shared_prefix import parse_shared_prefix

    if not sharing.prefix:
        return workload
    prefix, prompts = parse_shared_prefix(sharing.prefix), workload.input_tokens
    longest = prompts.mean if prompts.distribution == "fixed" else prompts.maximum
    if workload.arrival.law != "trace" and longest is not None and longest <= prefix.tokens:
        raise UsageError(
            f"a shared prefix of {prefix.tokens} tokens leaves nothing of prompts of {longest:g} tokens",
            hint="--input-tokens counts whole prompts, prefix included: give more.",
        )
    return replace(workload, shared_prefix=prefix)


def _alone(
    catalog: Catalog, use_case: str | None, lengths: tuple[str | None, str | None], arrival: str
) -> tuple[Workload, Trace | None]:
    """The workload of requests that have nothing in common."""
    from giq.workload.workload import Workload, parse_arrival

    if arrival.startswith("trace:"):
        return _trace_workload(arrival, use_case, lengths)
    law = parse_arrival(arrival)
    given_input, given_output = lengths
    if given_input and given_output:
        ours = lengths_of(given_input, "--input-tokens"), lengths_of(given_output, "--output-tokens")
        name = catalog.use_case(use_case).name if use_case else None
        return Workload(use_case=name, input_tokens=ours[0], output_tokens=ours[1], arrival=law), None
    if given_input or given_output:
        raise UsageError("one length is missing", hint="Give --input-tokens and --output-tokens, or a --use-case.")
    known = catalog.use_case(use_case or DEFAULT_USE_CASE)
    return (
        Workload(use_case=known.name, input_tokens=known.input_tokens, output_tokens=known.output_tokens, arrival=law),
        None,
    )


def _trace_workload(
    arrival: str, use_case: str | None, lengths: tuple[str | None, str | None]
) -> tuple[Workload, Trace]:
    from giq.catalog.use_cases import Lengths
    from giq.workload.trace import read_trace
    from giq.workload.workload import Arrival, Workload

    if any(lengths) or use_case:
        raise UsageError("a trace brings its own lengths", hint="Leave the use case and the lengths out.")
    trace = read_trace(Path(arrival.removeprefix("trace:")))
    workload = Workload(
        input_tokens=Lengths(mean=float(trace.input_tokens.mean())),
        output_tokens=Lengths(mean=float(trace.output_tokens.mean())),
        arrival=Arrival(law="trace", trace_id=trace.trace_id),
    )
    return workload, trace


def targets_of(percentile: str, **texts: str | None) -> tuple[Target, ...]:
    """The targets given, as `metric=duration text`, at *percentile*.

    Raises:
        UsageError: a duration without a unit, or an unknown percentile.
    """
    from giq.curve.targets import Target

    name = parse_percentile(percentile)
    return tuple(
        Target(metric=metric, seconds=parse_duration(text), percentile=name)  # type: ignore[arg-type]
        for metric, text in texts.items()
        if text is not None
    )


def loads_of(concurrency: str | None, request_rate: str | None) -> tuple[Load, ...]:
    """The explicit loads: closed loops first, then open ones, each in the order given; empty: search.

    Raises:
        UsageError: a number that is none, or a concurrency that is not whole.
    """
    from giq.workload.workload import ClosedLoad, OpenLoad

    closed = parse_numbers(concurrency, "--concurrency") if concurrency else ()
    if any(number != int(number) for number in closed):
        raise UsageError(f"a concurrency in {concurrency!r} is not whole", hint="Like --concurrency 1,8,64.")
    rates = parse_numbers(request_rate, "--request-rate") if request_rate else ()
    return (
        *(ClosedLoad(concurrency=int(number)) for number in closed),
        *(OpenLoad(rate_rps=number) for number in rates),
    )


def loads_under(workload: Workload, loads: tuple[Load, ...], stop: Stop) -> tuple[Load, ...]:
    """The explicit *loads* that *workload* can be put under until *stop*, empty where the knee is to be searched for.

    Raises:
        UsageError: a ramp, which is its own load, beside others; a search for the knee of conversations; or
            conversations that are cut before they settle.
    """
    from giq.workload.sessions import refuse_unsettled
    from giq.workload.workload import OpenLoad

    ramp = workload.arrival.mean_rps
    if ramp is not None:
        if loads:
            raise UsageError(
                f"{workload.arrival} says the rates itself", hint="Leave --request-rate and --concurrency out."
            )
        return (OpenLoad(rate_rps=ramp),)
    if workload.conversation is not None and not loads:
        raise UsageError(
            "the search for the knee does not hold conversations, which take long to settle",
            hint="Give loads: --request-rate 1,2,4 or --concurrency 4,16,64, and a --duration of many conversations.",
        )
    for load in loads:
        refuse_unsettled(workload, load, stop)
    return loads


def stop_of(requests: int | None, duration: str | None) -> Stop:
    """When an explicit load ends; a minute where nothing is said.

    Raises:
        UsageError: a duration without a unit, or no request at all.
    """
    from giq.workload.workload import Stop

    if requests is not None and requests < 1:
        raise UsageError("--requests must be above zero", hint="Like --requests 200.")
    if requests is None and duration is None:
        return Stop(duration_s=60.0)
    return Stop(requests=requests, duration_s=parse_duration(duration) if duration else None)
