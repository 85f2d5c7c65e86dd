"""The plan: everything that the manifests say, decided before a template is touched."""

from __future__ import annotations

from giq.catalog.accelerators import Accelerator
from giq.catalog.catalog import Catalog
from giq.catalog.configuration import UNKNOWN, Component, EngineValue
from giq.catalog.servers import ServerVersion
from giq.documents import Entry, PositiveInt
from giq.errors import UsageError
from giq.manifest.annotations import DOMAIN, curve_annotations
from giq.manifest.autoscaling import Autoscaler, autoscaler_of
from giq.manifest.choice import ServingChoice
from giq.manifest.engine_command import engine_command, pinned_image
from giq.manifest.names import checked_name, checked_namespace, dns_label
from giq.manifest.options import ManifestOptions
from giq.manifest.probes import Ending, Probes, ending_of, probes_of
from giq.manifest.resources import BOOT_DISK_FREE, GIB, Resources, resources_of
from giq.manifest.startup import Startup, startup_of

DEFAULT_SERVER = "vllm"
MODELS_FOLDER = "/models"
SECRET_NAME = "hf-secret"
SECRET_KEY = "hf_api_token"
_PROVISIONING_LABELS = {"spot": "cloud.google.com/gke-spot", "flex-start": "cloud.google.com/gke-flex-start"}
"""Label of nodes, and of their taint, bought under a pricing model that not every node has."""

_NVIDIA_LIBRARIES = "/usr/local/nvidia/lib64:/usr/local/cuda/lib64"
"""Where GKE mounts the driver's libraries, which not every image looks into on its own, then CUDA's."""


class Variable(Entry, frozen=True, kw_only=True):
    """An environment variable with a value, or the key of a Secret; `optional`: it may be missing."""

    name: str
    value: str | None = None
    secret_name: str | None = None
    secret_key: str | None = None
    optional: bool = False


class Container(Entry, frozen=True, kw_only=True):
    """The server's container. `drop_capabilities`: it runs without any of root's special rights."""

    image: str
    command: tuple[str, ...]
    args: tuple[str, ...]
    env: tuple[Variable, ...]
    port: PositiveInt = 8000
    resources: Resources
    drop_capabilities: bool


class Plan(Entry, frozen=True, kw_only=True):
    """What a template needs, and nothing else.

    `replicas` is None where the autoscaler sets them (applying again must not undo it); `hpa` is None
    for the reason in `hpa_absent_reason`. `tolerated_taints` are keys. `notes` are for the user, not the cluster.
    """

    name: str
    namespace: str
    labels: dict[str, str]
    annotations: dict[str, str]
    replicas: PositiveInt | None
    container: Container
    node_selector: dict[str, str]
    tolerated_taints: tuple[str, ...]
    models_folder: str = MODELS_FOLDER
    probes: Probes
    ending: Ending
    progress_deadline_s: PositiveInt
    hpa: Autoscaler | None
    hpa_absent_reason: str | None
    notes: tuple[str, ...] = ()


def make_plan(choice: ServingChoice, catalog: Catalog, options: ManifestOptions) -> Plan:
    """The plan for *choice*: a pure function, so that one choice always gives the same manifests.

    Raises:
        UsageError: a name that Kubernetes refuses, an accelerator that is not on GKE, a unit of several hosts
            or components, or an engine argument or image that the server's version lacks.
        UnknownNameError: the accelerator or the server is not in the catalog.
        IncompatibleError: the configuration contradicts itself.
    """
    part = _single_component(choice)
    accelerator = catalog.accelerator(part.accelerator)
    resource = _resource(accelerator)
    version = _server_version(part, catalog)
    weights_bytes = choice.weights_bytes or accelerator.memory_gb * 1e9 * part.accelerators_per_host
    startup = startup_of(weights_bytes, accelerator.kind, options.node_start_s)
    ending = ending_of(choice.latency_p99_s, server_drains="shutdown_timeout" in version.flags)
    resources = resources_of(choice.shape, part.accelerators_per_host, resource, weights_bytes)
    found = autoscaler_of(choice, version.metrics, startup, options)
    hpa, absent = (None, found) if isinstance(found, str) else (found, None)
    made_up = dns_label(f"vllm-{part.model}-{accelerator.name}")
    name = made_up if options.name is None else checked_name(options.name)
    probes = probes_of(startup)
    return Plan(
        name=name,
        namespace=checked_namespace(options.namespace),
        labels=_labels(name, part, accelerator),
        annotations=curve_annotations(choice) | {f"{DOMAIN}/autoscaling": hpa.reason if hpa else f"none: {absent}"},
        replicas=None if hpa else options.min_replicas or choice.replicas,
        container=_container(choice, version, accelerator, resources, _extra_arguments(version, ending, options)),
        node_selector=_node_selector(choice, accelerator, options),
        tolerated_taints=_tolerated_taints(resource, choice),
        probes=probes,
        ending=ending,
        progress_deadline_s=_progress_deadline(startup, probes),
        hpa=hpa,
        hpa_absent_reason=absent,
        notes=_notes(choice, version, resources),
    )


def _single_component(choice: ServingChoice) -> Component:
    config = choice.config
    part = config.main
    if len(config.components) > 1 or part.replicas > 1 or part.role != "both":
        raise UsageError("a unit of several components cannot be deployed by giq yet", hint="Choose another row.")
    if part.hosts > 1 or choice.shape.hosts > 1:
        raise UsageError(
            f"{part.accelerator} {part.topology or ''} spans {max(part.hosts, choice.shape.hosts)} hosts; giq writes "
            "manifests for one host",
            hint="Choose a row of one host.",
        )
    if part.accelerators_per_host > choice.shape.accelerators:
        raise UsageError(
            f"{choice.shape.machine_type} has {choice.shape.accelerators} accelerators, "
            f"and the unit needs {part.accelerators_per_host}"
        )
    return part


def _server_version(part: Component, catalog: Catalog) -> ServerVersion:
    server = DEFAULT_SERVER if part.server == UNKNOWN else part.server
    return catalog.server_version(server, None if part.server_version == UNKNOWN else part.server_version)


def _resource(accelerator: Accelerator) -> str:
    if not accelerator.on_gke or accelerator.resource is None:
        raise UsageError(f"{accelerator.title} is not on GKE", hint="Choose a row whose accelerator is.")
    return accelerator.resource


def _labels(name: str, part: Component, accelerator: Accelerator) -> dict[str, str]:
    """Labels of every object; `app` alone selects the pods."""
    return {
        "app": name,
        "app.kubernetes.io/managed-by": "giq",
        "ai.gke.io/model": dns_label(part.model),
        "ai.gke.io/inference-server": "vllm",
        f"{DOMAIN}/accelerator": dns_label(accelerator.name),
    }


def _container(
    choice: ServingChoice,
    version: ServerVersion,
    accelerator: Accelerator,
    resources: Resources,
    extra: dict[str, EngineValue],
) -> Container:
    command, args = engine_command(version, choice.config.main, choice.weights_repository, extra)
    return Container(
        image=pinned_image(version, accelerator.kind, choice.config.main.image_digest),
        command=command,
        args=args,
        env=_environment(accelerator, choice.gated),
        resources=resources,
        drop_capabilities=accelerator.kind == "gpu",
    )


def _extra_arguments(version: ServerVersion, ending: Ending, options: ManifestOptions) -> dict[str, EngineValue]:
    """Arguments of the manifest's own, beside those that the curve was measured with."""
    extra: dict[str, EngineValue] = {}
    if options.served_model_name is not None:
        extra["served_model_name"] = options.served_model_name
    if "shutdown_timeout" in version.flags:
        extra["shutdown_timeout"] = ending.drain_s
    return extra


def _environment(accelerator: Accelerator, gated: bool) -> tuple[Variable, ...]:
    """Caches in a volume that outlives a crash of the container, and the Hub's token (needed for gated models)."""
    variables = [
        Variable(name="HF_HOME", value=f"{MODELS_FOLDER}/huggingface"),
        Variable(name="VLLM_CACHE_ROOT", value=f"{MODELS_FOLDER}/vllm"),
        Variable(name="HF_TOKEN", secret_name=SECRET_NAME, secret_key=SECRET_KEY, optional=not gated),
    ]
    if accelerator.resource == "nvidia.com/gpu":
        variables.append(Variable(name="LD_LIBRARY_PATH", value=_NVIDIA_LIBRARIES))
    return tuple(variables)


def _node_selector(choice: ServingChoice, accelerator: Accelerator, options: ManifestOptions) -> dict[str, str]:
    selector = dict(accelerator.node_labels)
    topology = choice.config.main.topology or choice.shape.topology
    if accelerator.topology_label is not None and topology is not None:
        selector[accelerator.topology_label] = topology
    if choice.pricing_model in _PROVISIONING_LABELS:
        selector[_PROVISIONING_LABELS[choice.pricing_model]] = "true"
    if options.pin_machine_type:
        selector["node.kubernetes.io/instance-type"] = choice.shape.machine_type
    return dict(sorted(selector.items()))


def _tolerated_taints(resource: str, choice: ServingChoice) -> tuple[str, ...]:
    """Taints of nodes with accelerators (their key is the resource's name), and of spot and flex-start nodes."""
    bought = _PROVISIONING_LABELS.get(choice.pricing_model)
    return (resource,) if bought is None else (resource, bought)


def _progress_deadline(startup: Startup, probes: Probes) -> int:
    """A rollout has failed when a replica could neither get a node nor start in the time that its probe allows."""
    return round(5 * startup.node_s) + probes.startup.failures * probes.startup.period_s


def _notes(choice: ServingChoice, version: ServerVersion, resources: Resources) -> tuple[str, ...]:
    notes = list(choice.notes)
    told = choice.config.main.server_version
    if told != version.version:
        notes.append(f"the curve is of server version {told}; image and flags are those of {version.version}")
    if choice.gated:
        notes.append(f"the model is gated: the Secret {SECRET_NAME} must hold your token as {SECRET_KEY}")
    local = (choice.shape.local_ssd_gb or 0) * 1e9
    if max(BOOT_DISK_FREE, local) < resources.disk_bytes:
        notes.append(
            f"the weights need {resources.disk_bytes / GIB:.0f} GiB of disk on the node, "
            "more than GKE's default boot disk leaves: give the node pool a larger one"
        )
    if choice.weights_bytes is None:
        notes.append("the size of the weights is not known; disk and start-up time assume they fill the accelerators")
    return tuple(notes)
