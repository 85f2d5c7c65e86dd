"""What is asked of a recommendation: model, workload, targets, rate, region, pricing, and how good the evidence."""

from __future__ import annotations

from giq.catalog.catalog import Catalog
from giq.catalog.models import Precision
from giq.catalog.prices import PricingModel
from giq.catalog.use_cases import Lengths
from giq.curve.point import Evidence
from giq.curve.targets import Target
from giq.documents import Entry, Name, Positive, Share, replace
from giq.errors import UnknownNameError, UsageError
from giq.recommend.cost import DEFAULT_RATIO
from giq.units import format_rate
from giq.workload.workload import Workload

DEFAULT_USE_CASE = "chatbot"
DEFAULT_REGION = "us-central1"
DEFAULT_PRICING: PricingModel = "on-demand"
DEFAULT_PERCENTILE = "p90"


class Requirement(Entry, frozen=True, kw_only=True):
    """What a recommendation is asked for.

    `model` and `accelerators` are names in the catalog's own spelling (None: every one on GKE).
    Without `request_rate_rps` the rank is by USD per million output tokens, with it by USD per hour of the
    whole replicas that carry it, and `spare_replicas` beyond. `precision` None is each model's as served.
    `evidence_floor` refuses weaker evidence; `attainment` is the share of requests that must meet all
    targets at once.

    Raises:
        UsageError: an attainment without targets.
    """

    model: Name
    workload: Workload
    targets: tuple[Target, ...] = ()
    request_rate_rps: Positive | None = None
    spare_replicas: int = 0
    region: Name = DEFAULT_REGION
    pricing_model: PricingModel = DEFAULT_PRICING
    output_input_ratio: Positive = DEFAULT_RATIO
    accelerators: tuple[Name, ...] | None = None
    precision: Precision | None = None
    evidence_floor: Evidence | None = None
    attainment: Share | None = None

    def __post_init__(self) -> None:
        if self.attainment is not None and not self.targets:
            raise UsageError(
                "an attainment needs at least one latency target for requests to meet", hint="Like --target-ttft 300ms."
            )

    def is_of(self, model: str, catalog: Catalog) -> bool:
        """Whether *model*, as a curve names it, is the one asked for; outside the catalog a name is only itself."""
        return _model_name(model, catalog) == _model_name(self.model, catalog)

    def asks_for(self, workload: Workload) -> bool:
        """Whether *workload* is the one asked for; the name of the use case alone makes no difference."""
        return replace(workload, use_case=None).workload_id == replace(self.workload, use_case=None).workload_id

    def defaults_used(self) -> tuple[str, ...]:
        """What holds because of giq's defaults, in words; always printed with a recommendation."""
        used = (
            (self.workload.use_case == DEFAULT_USE_CASE, f"use case {DEFAULT_USE_CASE}"),
            (any(item.percentile == DEFAULT_PERCENTILE for item in self.targets), f"percentile {DEFAULT_PERCENTILE}"),
            (not self.targets, "no latency target: capacity is the saturation point"),
            (self.request_rate_rps is None, "no request rate: ranked by USD per million output tokens at capacity"),
            (self.request_rate_rps is not None and not self.spare_replicas, "no spare replicas"),
            (self.region == DEFAULT_REGION, f"region {DEFAULT_REGION}"),
            (self.pricing_model == DEFAULT_PRICING, f"pricing {DEFAULT_PRICING}"),
            (self.output_input_ratio == DEFAULT_RATIO, f"output:input cost ratio {DEFAULT_RATIO:g}"),
            (self.precision is None, "precision as served"),
        )
        return tuple(words for holds, words in used if holds)


def workload_words(workload: Workload) -> str:
    """A workload for people: `chatbot (108 input, 132 output tokens, poisson)`.

    What requests have in common is said too: `..., 4 turns with 5s between, 8 shared prefixes of 512 tokens`.
    """
    lengths = f"{_length_words(workload.input_tokens)} input, {_length_words(workload.output_tokens)} output tokens"
    parts = [lengths, f"{workload.arrival} arrivals", *_talk_words(workload), *_prefix_words(workload)]
    return f"{workload.use_case or 'workload'} ({', '.join(parts)})"


def _talk_words(workload: Workload) -> list[str]:
    talk = workload.conversation
    if talk is None:
        return []
    pause = f" with {talk.think} between" if talk.think.mean_s else ""
    return [f"conversations of {_length_words(talk.turns)} turns{pause}"]


def _prefix_words(workload: Workload) -> list[str]:
    prefix = workload.shared_prefix
    if prefix is None:
        return []
    popular = f", Zipf {prefix.zipf:g}" if prefix.zipf else ""
    which = "one shared prefix" if prefix.groups == 1 else f"{prefix.groups} shared prefixes{popular}"
    return [f"{which} of {prefix.tokens} tokens"]


def target_words(requirement: Requirement) -> str:
    """The targets, and the rate where there is one, for people."""
    targets = ", ".join(map(str, requirement.targets)) or "no latency target"
    rate = requirement.request_rate_rps
    return targets if rate is None else f"{targets} at {format_rate(rate)}"


def _model_name(name: str, catalog: Catalog) -> str:
    try:
        return catalog.model(name).name
    except UnknownNameError:
        return name


def _length_words(lengths: Lengths) -> str:
    return f"{lengths.mean:g}" if lengths.distribution == "fixed" else f"about {lengths.mean:g}"
