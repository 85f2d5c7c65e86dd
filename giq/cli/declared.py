"""A deployment unit from the command line's words, the same unit that `giq recommend` would rank."""

from __future__ import annotations

from typing import TYPE_CHECKING

from giq.errors import UsageError

if TYPE_CHECKING:
    from giq.catalog import Catalog, ServingConfiguration
    from giq.profiling.options import Declared
    from giq.workload.workload import Workload


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
    request = declared.accelerator
    if request.count is None and request.topology is None and declared.machine_type is None:
        request = replace(request, count=declared.tensor_parallel_size or 1)
    shape = find_shape(accelerator, request, declared.machine_type) if accelerator.shapes else None
    if shape is not None and shape.hosts > 1:
        raise UsageError(
            f"{accelerator.name} {shape.topology} is a slice of {shape.hosts} hosts; only single hosts are predicted",
            hint="Choose a slice of one host, or measure the real one with --endpoint.",
        )
    asked = {"model": model.name, "workload": workload, "precision": declared.precision}
    requirement = validate(asked, Requirement, "the command line")
    config = serving_configuration(model, accelerator, catalog.server_version("vllm"), shape, requirement)
    main = config.main
    changed = replace(
        main, engine_args=main.engine_args | declared.engine_args, tp=declared.tensor_parallel_size or main.tp
    )
    return replace(config, components=(changed,))


def engine_words(config: ServingConfiguration) -> list[str]:
    """The options of `giq engine serve` that give *config* again."""
    main = config.main
    size = f":{main.topology}" if main.topology else f":{main.accelerators_per_host}"
    words = ["--model", main.model, "--accelerator", main.accelerator + size, "--precision", main.precision]
    words += ["--tensor-parallel-size", str(main.tp)]
    for key, value in main.engine_args.items():
        words += ["--engine-arg", f"{key}={value}"]
    return words
