"""Parses rendered documents back and compares them with the plan that was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from giq.documents import load_yaml_all
from giq.errors import GiqError
from giq.manifest.plan import Container, Plan, Variable

Path = tuple[str | int, ...]

_POD: Path = ("spec", "template", "spec")
_CONTAINER: Path = (*_POD, "containers", 0)
_POD_FIELDS = {
    "automountServiceAccountToken", "enableServiceLinks", "terminationGracePeriodSeconds", "securityContext",
    "nodeSelector", "tolerations", "containers", "volumes",
}  # fmt: skip
_CONTAINER_FIELDS = {
    "name", "image", "command", "args", "env", "ports", "resources", "securityContext", "startupProbe",
    "readinessProbe", "livenessProbe", "lifecycle", "volumeMounts",
}  # fmt: skip


def check(text: str, plan: Plan) -> None:
    """Refuse *text* unless it parses to exactly the documents that *plan* asks for.

    Raises:
        GiqError: names the first document and field that differ, with both values.
    """
    documents = load_yaml_all(text, "rendered manifests")
    kinds = ["Deployment", "Service", "PodMonitoring", *(["HorizontalPodAutoscaler"] if plan.hpa else [])]
    found = [document.get("kind") if isinstance(document, dict) else document for document in documents]
    if found != kinds:
        raise _difference("the kinds of documents", found, kinds)
    for kind, document in zip(kinds, documents, strict=True):
        for path, asked in _asked(kind, plan):
            there = _at(document, path)
            if there != asked or type(there) is not type(asked):
                raise _difference(f"{kind} {'.'.join(map(str, path))}", there, asked)
    pod = documents[0]["spec"]["template"]["spec"]
    _refuse_other_fields("Deployment pod", pod, _POD_FIELDS)
    _refuse_other_fields("Deployment container", pod["containers"][0], _CONTAINER_FIELDS)


def _asked(kind: str, plan: Plan) -> Iterator[tuple[Path, object]]:
    """What must stand where in the document of that *kind*."""
    yield ("metadata",), _metadata(kind, plan)
    selector = {"app": plan.name}
    match kind:
        case "Deployment":
            yield ("spec", "selector"), {"matchLabels": selector}
            yield ("spec", "replicas"), plan.replicas
            yield ("spec", "progressDeadlineSeconds"), plan.progress_deadline_s
            yield ("spec", "template", "metadata"), {"labels": plan.labels}
            yield from _asked_of_pod(plan)
            yield from _asked_of_container(plan.container)
        case "Service":
            yield ("spec", "selector"), selector
        case "PodMonitoring":
            yield ("spec", "selector"), {"matchLabels": selector}
        case "HorizontalPodAutoscaler":
            yield from _asked_of_autoscaler(plan)


def _metadata(kind: str, plan: Plan) -> dict[str, object]:
    asked: dict[str, object] = {"name": plan.name, "namespace": plan.namespace, "labels": plan.labels}
    return asked | {"annotations": plan.annotations} if kind in ("Deployment", "HorizontalPodAutoscaler") else asked


def _asked_of_pod(plan: Plan) -> Iterator[tuple[Path, object]]:
    taints = [{"key": key, "operator": "Exists", "effect": "NoSchedule"} for key in plan.tolerated_taints]
    yield (*_POD, "nodeSelector"), plan.node_selector
    yield (*_POD, "tolerations"), taints
    yield (*_POD, "terminationGracePeriodSeconds"), plan.ending.grace_s
    yield (*_CONTAINER, "lifecycle"), {"preStop": {"sleep": {"seconds": plan.ending.pre_stop_s}}}
    yield (*_POD, "volumes", 0, "emptyDir", "sizeLimit"), plan.container.resources.shared_memory
    yield (*_CONTAINER, "volumeMounts", 1, "mountPath"), plan.models_folder
    for name, probe in (
        ("startupProbe", plan.probes.startup),
        ("readinessProbe", plan.probes.readiness),
        ("livenessProbe", plan.probes.liveness),
    ):
        yield (*_CONTAINER, name, "periodSeconds"), probe.period_s
        yield (*_CONTAINER, name, "timeoutSeconds"), probe.timeout_s
        yield (*_CONTAINER, name, "failureThreshold"), probe.failures


def _asked_of_container(container: Container) -> Iterator[tuple[Path, object]]:
    yield (*_POD, "containers", 1), None
    yield (*_CONTAINER, "image"), container.image
    yield (*_CONTAINER, "command"), list(container.command)
    yield (*_CONTAINER, "args"), list(container.args)
    yield (*_CONTAINER, "env"), [_variable(item) for item in container.env]
    yield (*_CONTAINER, "ports", 0, "containerPort"), container.port
    yield (*_CONTAINER, "resources", "requests"), container.resources.requests
    yield (*_CONTAINER, "resources", "limits"), container.resources.limits
    dropped = {"capabilities": {"drop": ["ALL"]}} if container.drop_capabilities else {}
    yield (*_CONTAINER, "securityContext"), {"allowPrivilegeEscalation": False} | dropped


def _asked_of_autoscaler(plan: Plan) -> Iterator[tuple[Path, object]]:
    if plan.hpa is None:
        return
    metrics = [
        {
            "type": "Pods",
            "pods": {
                "metric": {"name": metric.name},
                "target": {"type": "AverageValue", "averageValue": metric.average_value},
            },
        }
        for metric in plan.hpa.metrics
    ]
    yield ("spec", "scaleTargetRef"), {"apiVersion": "apps/v1", "kind": "Deployment", "name": plan.name}
    yield ("spec", "minReplicas"), plan.hpa.min_replicas
    yield ("spec", "maxReplicas"), plan.hpa.max_replicas
    yield ("spec", "metrics"), metrics


def _variable(variable: Variable) -> dict[str, object]:
    if variable.secret_name is None:
        return {"name": variable.name, "value": variable.value}
    reference = {"name": variable.secret_name, "key": variable.secret_key, "optional": variable.optional}
    return {"name": variable.name, "valueFrom": {"secretKeyRef": reference}}


def _at(document: Any, path: Path) -> object:
    """What stands at *path*; None where nothing does."""
    found: object = document
    for step in path:
        try:
            found = found[step]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            return None
    return found


def _refuse_other_fields(what: str, found: dict[str, object], asked: set[str]) -> None:
    if found.keys() != asked:
        raise _difference(f"the fields of the {what}", sorted(found), sorted(asked))


def _difference(what: str, found: object, asked: object) -> GiqError:
    return GiqError(
        f"{what} would be {found!r}, and {asked!r} was asked for",
        where="rendered manifests",
        hint="This is a mistake in a template; nothing was written.",
    )
