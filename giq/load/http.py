"""Ordinary HTTP to the server, for everything that is not measured."""

from __future__ import annotations

import aiohttp

from giq.load.endpoint import Endpoint


def open_session(endpoint: Endpoint, timeout_s: float) -> aiohttp.ClientSession:
    """A session with the endpoint's key and certificates; paths are relative to its address. Follows no proxy."""
    scheme = "https" if endpoint.tls else "http"
    context = endpoint.ssl_context()
    headers = {name: value for name, value in endpoint.headers().items() if name != "Host"}
    return aiohttp.ClientSession(
        base_url=f"{scheme}://{endpoint.authority}",
        headers=headers,
        connector=aiohttp.TCPConnector(limit=8, ssl=True if context is None else context),
        timeout=aiohttp.ClientTimeout(total=timeout_s),
        trust_env=False,
    )
