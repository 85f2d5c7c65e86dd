"""Finds out who answers at an endpoint and what it takes, before any load is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from time import perf_counter
from typing import Any, Literal

import aiohttp

from giq.catalog.catalog import Catalog, load_catalog
from giq.catalog.models import Model
from giq.catalog.servers import MetricNames
from giq.errors import ServerError, UnknownNameError, UnreachableError
from giq.load.acceptance import find_form
from giq.load.endpoint import KEY_VARIABLES, Endpoint, refuse_proxy
from giq.load.http import open_session
from giq.load.identity import ServerIdentity
from giq.load.scraper import Scraper
from giq.load.tokenizer import ServerTokenizer

__all__ = ["ServerIdentity", "inspect"]

TIMEOUT_S = 15.0
ROUND_TRIPS = 7
ENGINE_HEADER = "giq-engine/"
EXACT_HEADER = "giq-exact/"
ENGINE_METRIC = "giq_engine_info"


@dataclass(frozen=True)
class _Reply:
    """An answer to a GET: its status, its Server header, its JSON (None: not JSON) and its text."""

    status: int
    server: str
    json: Any
    text: str


async def inspect(endpoint: Endpoint, catalog: Catalog | None = None) -> ServerIdentity:
    """Who answers at *endpoint*, which model is measured, and what its requests may hold.

    Sends a few small GETs and some requests of at most two output tokens. *catalog* (the shipped one and the
    user's when None) knows how the server's metrics are called.

    Raises:
        ServerError: nobody answers there, it is no OpenAI-compatible server, it does not serve the model (those
            served are listed), it wants a key, or it cannot answer a tiny request.
    """
    refuse_proxy(endpoint)
    async with open_session(endpoint, TIMEOUT_S) as session:
        models = await _models(session, endpoint)
        served = tuple(str(entry["id"]) for entry in models)
        model = _chosen(endpoint, models, catalog or load_catalog())
        about = next(entry for entry in models if entry["id"] == model)
        version = await _get(session, endpoint, "/version")
        _refuse_exact_server(version, endpoint)
        metrics = await _get(session, endpoint, "/metrics")
        kind: Literal["vllm", "unknown"] = (
            "vllm" if about.get("owned_by") == "vllm" or "\nvllm:" in metrics.text else "unknown"
        )
        number = version.json.get("version") if isinstance(version.json, dict) else None
        tokenizer = ServerTokenizer(session, endpoint, model)
        identity = ServerIdentity(
            server=kind,
            version=number if isinstance(number, str) else None,
            models=served,
            model=model,
            max_model_len=_length(about.get("max_model_len")),
            simulated=_simulated(version, metrics),
            metrics=metrics.status == 200 and bool(metrics.text),
            rtt_s=await _round_trip(session, endpoint),
            alphabet=await tokenizer.alphabet(),
            accepts_token_ids=False,
            busy=None,
        )
        identity = await find_form(endpoint, identity, tokenizer)
    return await _with_metrics(endpoint, identity, catalog)


async def is_serving(endpoint: Endpoint) -> bool:
    """Whether a server, and not only what stands before it, answers at *endpoint* now."""
    async with open_session(endpoint, TIMEOUT_S) as session:
        return 0 < (await _get(session, endpoint, "/v1/models")).status < 500


async def _models(session: aiohttp.ClientSession, endpoint: Endpoint) -> list[dict[str, Any]]:
    """The entries of /v1/models."""
    try:
        reply = await _get(session, endpoint, "/v1/models", strict=True)
    except aiohttp.ClientConnectorCertificateError:
        raise ServerError(
            "its certificate is not trusted", where=endpoint.url,
            hint="Give the certificate of its authority with --ca-file.",
        ) from None  # fmt: skip
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise UnreachableError(
            f"no server answers there ({_cause(error)})", where=endpoint.url,
            hint="Start one (vllm serve MODEL), or give its address with --endpoint.",
        ) from None  # fmt: skip
    _refuse_status(reply.status, endpoint)
    entries = reply.json.get("data") if isinstance(reply.json, dict) else None
    good = isinstance(entries, list) and all(isinstance(e, dict) and isinstance(e.get("id"), str) for e in entries)
    if reply.status != 200 or not good or not entries:
        raise ServerError(
            f"it is not an OpenAI-compatible server: GET {endpoint.prefix}/v1/models gave status {reply.status} "
            "and no list of models",
            where=endpoint.url,
            hint="Give the address under which /v1/models is found.",
        )
    return list(entries)


def _refuse_exact_server(reply: _Reply, endpoint: Endpoint) -> None:
    if reply.server.startswith(EXACT_HEADER):
        raise ServerError(
            "it is giq's exact server, which checks clients: there is no model to measure", where=endpoint.url,
            hint="Profile a model server, or try giq with --simulate --model M --accelerator A.",
        )  # fmt: skip


def _refuse_status(status: int, endpoint: Endpoint) -> None:
    if status in (401, 403):
        missing = "wants a key" if endpoint.api_key is None else "refuses the key"
        raise ServerError(
            f"the server {missing} (status {status})", where=endpoint.url,
            hint=f"Set {KEY_VARIABLES[0]}, or give a file that holds the key.",
        )  # fmt: skip
    if 300 <= status < 400:
        raise ServerError(
            f"the server answers with a redirect (status {status}), which giq does not follow", where=endpoint.url,
            hint="Give the address that it leads to.",
        )  # fmt: skip


def _chosen(endpoint: Endpoint, models: Sequence[dict[str, Any]], catalog: Catalog) -> str:
    """The name of the model to be measured: as asked for, else a served name that means the same model."""
    served = tuple(str(entry["id"]) for entry in models)
    names = ", ".join(served)
    if endpoint.model is None:
        # A model served under several names has one root.
        if len({str(entry.get("root", entry["id"])) for entry in models}) == 1:
            return served[0]
        raise ServerError(f"several models are served: {names}", where=endpoint.url, hint="Choose one with --model.")
    if endpoint.model in served:
        return endpoint.model
    meant = _known(endpoint.model, catalog)
    same = [name for name in served if meant is not None and _known(name, catalog) == meant]
    if not same:
        raise ServerError(
            f"the model {endpoint.model!r} is not served there", where=endpoint.url, hint=f"Served: {names}."
        )
    return same[0]


def _known(name: str, catalog: Catalog) -> Model | None:
    try:
        return catalog.model(name)
    except UnknownNameError:
        return None


async def _get(session: aiohttp.ClientSession, endpoint: Endpoint, path: str, strict: bool = False) -> _Reply:
    """What a GET of *path* gives; unless *strict*, one that fails is as if nothing were there."""
    try:
        async with session.get(endpoint.prefix + path, allow_redirects=False) as response:
            text = await response.text(errors="replace")
            try:
                data = await response.json(content_type=None)
            except ValueError:
                data = None
            return _Reply(response.status, response.headers.get("Server", ""), data, text)
    except (aiohttp.ClientError, TimeoutError, OSError):
        if strict:
            raise
        return _Reply(0, "", None, "")


def _cause(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer in {TIMEOUT_S:.0f} s"
    inner = getattr(error, "os_error", None) or error
    return getattr(inner, "strerror", None) or type(inner).__name__


def _length(value: object) -> int | None:
    return value if type(value) is int and value > 0 else None


def _simulated(version: _Reply, metrics: _Reply) -> dict[str, Any] | None:
    """What the simulated engine says of itself, by any of its three ways; None for a real server."""
    announced = version.json.get("giq_engine") if isinstance(version.json, dict) else None
    if announced is not None:
        return announced if isinstance(announced, dict) else {"giq_engine": announced}
    for reply in (version, metrics):
        if reply.server.startswith(ENGINE_HEADER):
            return {"version": reply.server.removeprefix(ENGINE_HEADER)}
    return {} if f"\n{ENGINE_METRIC}" in "\n" + metrics.text else None


async def _round_trip(session: aiohttp.ClientSession, endpoint: Endpoint) -> float:
    """Seconds of one round trip: the median of several small GETs on one connection."""
    times = []
    for _ in range(ROUND_TRIPS):
        began = perf_counter()
        await _get(session, endpoint, "/health")
        times.append(perf_counter() - began)
    return median(times)


async def _with_metrics(endpoint: Endpoint, identity: ServerIdentity, catalog: Catalog | None) -> ServerIdentity:
    """*identity* with the names of its metrics, where they are known and there, and how busy it is."""
    if identity.server != "vllm" or not identity.metrics:
        return identity
    names = _metric_names(identity.version, catalog)
    if names is None:
        return identity
    async with Scraper(endpoint, names) as scraper:
        reading = await scraper.read()
        busy = None if reading is None else scraper.busy(reading)
    return identity if busy is None else replace(identity, metric_names=names, busy=busy)


def _metric_names(version: str | None, catalog: Catalog | None) -> MetricNames | None:
    try:
        return (catalog or load_catalog()).server_version("vllm", version).metrics
    except UnknownNameError:  # a version that is no number: the server's metrics are then not known
        return None
