"""`giq profile --resume`: goes on with a run as it was begun, from its run.json alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING

from giq.documents import replace
from giq.errors import UsageError

if TYPE_CHECKING:
    from giq.catalog import Catalog
    from giq.cli.profiling import Choice
    from giq.profiling.options import ProfileOptions
    from giq.profiling.resumption import Asked
    from giq.store.run import Run

FREE = frozenset(
    (
        "resume", "run", "endpoint", "python", "api_key_file", "ca_file", "shared", "yes", "results_dir", "quiet",
        "output",
    )
)  # fmt: skip
"""What may be given anew: it changes neither what is measured nor with what load."""

_LENGTHS = ("options.workload.input_tokens", "options.workload.output_tokens")

MEANT = {
    "launch": ("source",),
    "simulate": ("source",),
    "api": ("api",),
    "trust_remote_code": ("trust_remote_code",),
    **{
        name: (f"options.declared.{name}",)
        for name in ("model", "accelerator", "machine_type", "tensor_parallel_size", "precision")
    },
    "engine_arg": ("options.declared.engine_args",),
    "use_case": ("options.workload.use_case", *_LENGTHS),
    "input_tokens": _LENGTHS,
    "output_tokens": _LENGTHS,
    "arrival": ("options.workload.arrival",),
    "shared_prefix": ("options.workload.shared_prefix",),
    "turns": ("options.workload.conversation",),
    "think_time": ("options.workload.conversation",),
    **{f"target_{metric}": ("options.targets",) for metric in ("ttft", "tpot", "itl", "ntpot", "latency")},
    "percentile": ("options.targets",),
    "concurrency": ("options.loads",),
    "request_rate": ("options.loads",),
    "requests": ("options.stop",),
    "duration": ("options.stop",),
    "budget": ("options.budget_s",),
    "timeout": ("options.request_timeout_s",),
    "seed": ("options.seed",),
    "workers": ("options.workers",),
}
"""For every other option the fields of `Asked` that it decides: given again, they must be as they were."""


def resume_profile(named: str, choice: Choice, options: ProfileOptions, given: Iterable[str], catalog: Catalog) -> None:
    """Go on with the run that *named* means; *given* are the options that stand in the command line.

    Raises:
        DataError: the run cannot be read, or cannot be gone on with.
        IncompatibleError: another server answers than the one it was begun on.
        UsageError: there is no such run, a living process measures it, or an option says otherwise than the run.
        ServerError, Interrupted: as with a new run.
    """
    from giq.cli.profiling import run_profile
    from giq.profiling.resumption import Asked, find_run, refuse_other_wishes
    from giq.show.terminal import say
    from giq.store.run import open_run, take_run
    from giq.workload.trace import read_trace

    folder = find_run(choice.results_dir, named)
    manifest = open_run(folder).manifest
    asked = Asked.of(manifest, folder)
    refuse_other_wishes(asked, _wished(choice, options), _fields(given, choice))
    if manifest.state == "done":
        say(f"There is nothing to go on with: the run {manifest.run_id} is done ({manifest.stopped}).")
        return
    run = take_run(folder)
    try:
        say(f"Going on with the run {manifest.run_id}: {len(run.points())} point(s) saved.")
        trace = read_trace(run.trace_file) if run.trace_file else None
        shared = asked.options.shared or options.shared
        run_profile(_choice(choice, asked, run), replace(asked.options, shared=shared), trace, catalog)
    finally:
        run.release()


def _wished(choice: Choice, options: ProfileOptions) -> Asked:
    """What the command line asks for now."""
    from giq.profiling.resumption import Asked

    return Asked(
        source=choice.source, api=choice.api, python=choice.python, trust_remote_code=choice.trust_remote_code,
        options=options,
    )  # fmt: skip


def _fields(given: Iterable[str], choice: Choice) -> list[str]:
    """The fields of `Asked` that the options *given* decide, each once."""
    names = [name for name in given if name not in FREE]
    for name in names:
        if name not in MEANT:
            raise UsageError(f"--{name.replace('_', '-')} cannot be given with --resume", hint="Leave it out.")
    source = ("source",) if choice.endpoint is not None else ()
    return list(dict.fromkeys([*source, *(field for name in names for field in MEANT[name])]))


def _choice(choice: Choice, asked: Asked, run: Run) -> Choice:
    """The server of the run, reached or started as it was, at another address or by another interpreter where said."""
    ours = asked.source == "endpoint"
    return dataclasses.replace(
        choice,
        endpoint=(choice.endpoint or run.manifest.endpoint) if ours else None,
        launch=asked.source == "launch",
        simulate=asked.source == "simulate",
        python=choice.python or asked.python,
        trust_remote_code=asked.trust_remote_code,
        api=asked.api,
        resumed=run,
    )
