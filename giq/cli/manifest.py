"""`giq manifest`: the Kubernetes documents of a recommendation; stdout is YAML and nothing else."""

from __future__ import annotations

from typing import Annotated

import typer

from giq.errors import UsageError


def manifest(
    rank: Annotated[int, typer.Option(help="Which row of the last recommendation.")] = 1,
    namespace: Annotated[str, typer.Option(help="Kubernetes namespace.")] = "default",
    name: Annotated[str | None, typer.Option(help="Name of the Deployment and its companions.")] = None,
    max_replicas: Annotated[int | None, typer.Option(help="Upper bound of the autoscaler.")] = None,
    pin_machine_type: Annotated[bool, typer.Option(help="Select the priced machine type too.")] = False,
) -> None:
    """Write the manifests of the last recommendation's first choice.

    Example: giq manifest | kubectl apply -f -
    """
    import sys

    from giq.catalog import load_catalog
    from giq.manifest.choice import choice_of
    from giq.manifest.options import ManifestOptions
    from giq.manifest.plan import make_plan
    from giq.manifest.render import render
    from giq.recommend.saved import last_recommendation
    from giq.show.terminal import say

    recommendation = last_recommendation()
    row = recommendation.row(rank)
    if row is None:
        known = ", ".join(str(item.rank) for item in recommendation.rows if item.rank) or "none"
        raise UsageError(f"the last recommendation has no rank {rank}", hint=f"It has: {known}.")
    options = ManifestOptions(
        namespace=namespace, name=name, max_replicas=max_replicas, pin_machine_type=pin_machine_type
    )
    catalog = load_catalog()
    plan = make_plan(choice_of(row, recommendation.requirement, catalog), catalog, options)
    text = render(plan)
    main = row.config.main
    say(
        f"Rank {rank} of the recommendation of {recommendation.made_at}: {main.model} on {main.accelerator} "
        f"×{row.config.accelerators_total}, {row.evidence}."
    )
    if plan.hpa is None:
        say(f"No HorizontalPodAutoscaler: {plan.hpa_absent_reason}", "yellow")
    for note in plan.notes:
        say(note)
    sys.stdout.write(text)
