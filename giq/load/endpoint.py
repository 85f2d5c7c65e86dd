"""Where the load goes: the server's address, the key for it, and how its certificate is checked."""

from __future__ import annotations

import ipaddress
import os
import ssl
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from giq.errors import ServerError, UsageError

Api = Literal["completions", "chat"]

KEY_VARIABLES = ("GIQ_API_KEY", "OPENAI_API_KEY")
MAX_KEY_BYTES = 16_384


class Secret:
    """A text that is never printed: `str`, `repr` and f-strings show `[secret]`; `reveal` gives it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, for the one place that sends it."""
        return self._text

    def __repr__(self) -> str:
        return "[secret]"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)


def read_api_key(file: Path | None = None) -> Secret | None:
    """The key in *file*, else in GIQ_API_KEY, else in OPENAI_API_KEY; None when there is none.

    Raises:
        UsageError: the file cannot be read, or holds something that cannot be a key (the message does not show it).
    """
    if file is not None:
        return _checked_key(_read(file), str(file))
    for variable in KEY_VARIABLES:
        if text := os.environ.get(variable, "").strip():
            return _checked_key(text, variable)
    return None


def _read(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(MAX_KEY_BYTES + 1).decode("ascii").strip()
    except UnicodeDecodeError:
        raise UsageError("not a key: it has other than ASCII characters", where=str(file)) from None
    except OSError as error:
        raise UsageError(f"the key cannot be read: {error.strerror}", where=str(file)) from None


def _checked_key(text: str, where: str) -> Secret:
    if not text or len(text) > MAX_KEY_BYTES or not all("!" <= character <= "~" for character in text):
        raise UsageError(
            "not a key: it is empty, too long, or has spaces or control characters in it",
            where=where,
            hint="Put the bare key there, on one line.",
        )
    return Secret(text)


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible server, given by its base URL (`http://host:8000`, with or without a final `/v1`).

    `model` None takes the only one served. `ca_file` is checked instead of the system's certificates.

    Raises:
        UsageError: the URL is no http(s) address, or carries a user, a query or a fragment.
    """

    url: str
    model: str | None = None
    api_key: Secret | None = None
    ca_file: Path | None = None
    api: Api = "completions"

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            good = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
        except ValueError:
            good = False
        if not good or any(character <= " " or character > "~" for character in self.url):
            raise UsageError("not an address of a server", where=_shown(self.url), hint="Like http://localhost:8000.")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise UsageError(
                "the address has a user, a query or a fragment in it",
                where=_shown(self.url),
                hint=f"Give the bare address, and a key in {KEY_VARIABLES[0]} or a file.",
            )

    @property
    def tls(self) -> bool:
        """Whether the way to it is encrypted."""
        return urlsplit(self.url).scheme == "https"

    @property
    def host(self) -> str:
        """The host's name or address, without brackets."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """The TCP port."""
        return urlsplit(self.url).port or (443 if self.tls else 80)

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine, by its name or address."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def prefix(self) -> str:
        """What stands before `/v1/...` in a path: empty, or like `/models/llama`."""
        return urlsplit(self.url).path.rstrip("/").removesuffix("/v1").rstrip("/")

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        return urlsplit(self.url).netloc

    @property
    def generate_path(self) -> str:
        """The path that requests go to."""
        return self.prefix + ("/v1/chat/completions" if self.api == "chat" else "/v1/completions")

    def headers(self) -> dict[str, str]:
        """The headers of every request; the only place where the key is spelled out."""
        headers = {"Host": self.authority, "Accept-Encoding": "identity", "User-Agent": "giq"}
        if self.api_key is not None:
            headers["Authorization"] = f"Bearer {self.api_key.reveal()}"
        return headers

    def ssl_context(self) -> ssl.SSLContext | None:
        """How the server's certificate is verified; None without TLS.

        Raises:
            UsageError: the file of certificates cannot be used.
        """
        if not self.tls:
            return None
        try:
            return ssl.create_default_context(cafile=None if self.ca_file is None else str(self.ca_file))
        except (OSError, ssl.SSLError) as error:
            raise UsageError(f"no certificates to check the server with: {error}", where=str(self.ca_file)) from None


def refuse_proxy(endpoint: Endpoint) -> None:
    """Refuse to measure where the environment asks for an HTTP proxy: its time would be taken for the server's.

    A server on this machine is always reached directly.

    Raises:
        ServerError: a proxy variable applies to the endpoint.
    """
    proxies = urllib.request.getproxies_environment()
    proxy = proxies.get("https" if endpoint.tls else "http") or proxies.get("all")
    if not proxy or endpoint.is_loopback or urllib.request.proxy_bypass(endpoint.host):
        return
    scheme = "HTTPS" if endpoint.tls else "HTTP"
    raise ServerError(
        f"the environment asks for an HTTP proxy ({scheme}_PROXY or ALL_PROXY), and giq measures without one",
        where=endpoint.url,
        hint=f"Unset the variable, or add {endpoint.host} to NO_PROXY, where the server can be reached directly.",
    )


def _shown(url: str) -> str:
    """*url* without what may be a password in it."""
    return url.rpartition("@")[2].partition("?")[0]
