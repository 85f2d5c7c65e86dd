"""What a user may set about the manifests beyond the choice itself."""

from __future__ import annotations

from giq.documents import Entry, NonNegative, PositiveInt
from giq.manifest.startup import NODE_S

DEFAULT_MAX_REPLICAS = 10


class ManifestOptions(Entry, frozen=True, kw_only=True):
    """Names, bounds and the assumptions behind the autoscaler's target.

    `name` None: made from the model and the accelerator. `served_model_name` None: the weights' repository.
    `min_replicas` None: as many as the required rate needs. `max_replicas` None: 10, or twice the minimum
    where that is more. `pin_machine_type` accepts only the machine that was priced: without it any machine
    with the accelerator will do, which is easier to obtain but may cost another price.

    `growth_per_s` is the fastest growth of traffic to be borne, as a share of it per second. `sync_s` is how
    old a metric is when the autoscaler acts: 15 s between scrapes, 15 s between its looks, 30 s on the way.
    `tolerance` is Kubernetes' own: below 1.1 times its target the autoscaler does nothing.
    """

    namespace: str = "default"
    name: str | None = None
    served_model_name: str | None = None
    pin_machine_type: bool = False
    min_replicas: PositiveInt | None = None
    max_replicas: PositiveInt | None = None
    growth_per_s: NonNegative = 0.001
    node_start_s: NonNegative = NODE_S
    sync_s: NonNegative = 60.0
    tolerance: NonNegative = 0.1
