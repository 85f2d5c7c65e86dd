"""A deployment unit from the command line's words, the same unit that `giq recommend` would rank."""

from __future__ import annotations

from typing import TYPE_CHECKING

from giq.errors import UsageError

if TYPE_CHECKING:
    from giq.catalog import Catalog, ServingConfiguration
    from giq.profiling.options import Declared
    from giq.workload.workload import Workload


OF_THE_UNIT = (
    "pipeline_parallel_size",
    "data_parallel_size",
    "enable_expert_parallel",
    "speculative",
    "max_loras",
)
"""Engine arguments that a configuration says in fields of its own. `speculative` tells what the simulated engine needs:
`method=eagle3,tokens=3,acceptance=0.75,drafter=0.06`."""


def declared_configuration(declared: Declared, workload: Workload, catalog: Catalog) -> ServingConfiguration:
    """The configuration of the declared model on the declared accelerator.

    Raises:
        UsageError: no model or accelerator was given, or the accelerator does not come in that shape.
        UnknownNameError: a name is not in the catalog.
    """
    from giq.documents import replace, validate
    from giq.profiling.configuration import find_shape
    from giq.recommend.candidates import serving_configuration
    from giq.recommend.requirement import Requirement

    if not declared.model or not declared.accelerator:
        raise UsageError("model and accelerator are both needed", hint="Give --model and --accelerator.")
    model = catalog.model(declared.model)
    accelerator = catalog.accelerator(declared.accelerator.name)
    request, (pp, dp) = declared.accelerator, _stages_and_ranks(declared)
    if request.count is None and request.topology is None and declared.machine_type is None:
        request = replace(request, count=(declared.tensor_parallel_size or 1) * pp * dp)
    shape = find_shape(accelerator, request, declared.machine_type) if accelerator.shapes else None
    asked = {"model": model.name, "workload": workload, "precision": declared.precision}
    requirement = validate(asked, Requirement, "the command line")
    config = serving_configuration(model, accelerator, catalog.server_version("vllm"), shape, requirement)
    main, said = config.main, declared.engine_args
    hosts = 1 if shape is None else shape.hosts
    tp = declared.tensor_parallel_size or max(1, main.accelerators_per_host * hosts // (pp * dp))
    experts = said.get("enable_expert_parallel") is True
    arguments = {key: value for key, value in said.items() if key not in OF_THE_UNIT}
    changed = replace(
        main,
        engine_args=main.engine_args | arguments,
        hosts=hosts,
        tp=tp,
        pp=pp,
        dp=dp,
        ep=tp * dp if experts else 1,
    )
    speculative, adapters = said.get("speculative"), int(said.get("max_loras", 0))
    return replace(
        config,
        components=(changed,),
        speculative=None if speculative is None else str(speculative),
        adapters=adapters or None,
    )


def _stages_and_ranks(declared: Declared) -> tuple[int, int]:
    """Pipeline stages and data-parallel ranks."""
    found = []
    for name in ("pipeline_parallel_size", "data_parallel_size"):
        size = declared.engine_args.get(name, 1)
        if type(size) is not int or size < 1:
            raise UsageError(f"engine argument {name} = {size!r} is not a whole number above zero")
        found.append(size)
    return found[0], found[1]


def engine_words(config: ServingConfiguration) -> list[str]:
    """The options of `giq engine serve` that give *config* again."""
    main = config.main
    size = f":{main.topology}" if main.topology else f":{main.accelerators_per_host}"
    words = ["--model", main.model, "--accelerator", main.accelerator + size, "--precision", main.precision]
    words += ["--tensor-parallel-size", str(main.tp)]
    shared: dict[str, object] = {
        "pipeline_parallel_size": main.pp if main.pp > 1 else None,
        "data_parallel_size": main.dp if main.dp > 1 else None,
        "enable_expert_parallel": True if main.ep > 1 else None,
        "speculative": config.speculative,
        "max_loras": config.adapters,
    }
    for key, value in (main.engine_args | shared).items():
        if value is not None:
            words += ["--engine-arg", f"{key}={value}"]
    return words
