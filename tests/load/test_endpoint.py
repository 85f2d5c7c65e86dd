"""Addresses, keys, certificates and proxies."""

from __future__ import annotations

import contextlib
import pickle
import ssl
from pathlib import Path

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from giq.errors import GiqError, ServerError, UsageError
from giq.load.client import run_load
from giq.load.endpoint import Endpoint, Secret, read_api_key, refuse_proxy
from giq.load.inspection import inspect
from tests.load.exact_server import ExactServer
from tests.load.jobs import Heard, closed, identity, job, on_loop

SAFE = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=8, max_size=40)


@pytest.mark.parametrize(
    ("url", "host", "port", "prefix", "tls"),
    [
        ("http://localhost:8000", "localhost", 8000, "", False),
        ("http://localhost:8000/v1/", "localhost", 8000, "", False),
        ("https://gw.example.com/models/llama/v1", "gw.example.com", 443, "/models/llama", True),
        ("http://[::1]:9", "::1", 9, "", False),
        ("HTTP://Host", "host", 80, "", False),
    ],
)
def test_addresses_are_taken_apart(url: str, host: str, port: int, prefix: str, tls: bool) -> None:
    """Host, port, prefix and encryption follow from the address, whether it ends in /v1 or not."""
    endpoint = Endpoint(url)
    assert (endpoint.host, endpoint.port, endpoint.prefix, endpoint.tls) == (host, port, prefix, tls)


NO_ADDRESSES = [
    "localhost:8000", "ftp://x", "http://", "http://h:99999", "http://h:0", "http://a b", "http://h/\r\nX: y",
    "http://user:pw@h", "http://h?key=secret", "http://h#x", "",
]  # fmt: skip


@pytest.mark.parametrize("url", NO_ADDRESSES)
def test_what_is_no_address_is_refused(url: str) -> None:
    """Anything but a plain http(s) address is a usage error; a password or key in it is not shown."""
    with pytest.raises(UsageError) as raised:
        Endpoint(url)
    assert "pw" not in str(raised.value)
    assert "secret" not in str(raised.value)


@given(text=st.text(max_size=30))
def test_no_text_makes_an_address_fail_otherwise(text: str) -> None:
    """Any text is an address or a usage error."""
    with contextlib.suppress(UsageError):
        assert Endpoint("http://" + text).host


@given(text=SAFE)
def test_a_secret_is_never_printed(text: str) -> None:
    """However it is turned into text, a secret does not show; only `reveal` gives it."""
    secret = Secret(text)
    endpoint = Endpoint("http://h", api_key=secret)
    shown = f"{secret}{secret!r}{secret:>20}{[secret]}{endpoint}"
    assert text not in shown.replace("secret", "")
    assert endpoint.headers()["Authorization"] == f"Bearer {text}"
    assert pickle.loads(pickle.dumps(secret)).reveal() == text


def test_where_keys_come_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file goes before GIQ_API_KEY, and that before OPENAI_API_KEY; none is None."""
    monkeypatch.delenv("GIQ_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert read_api_key() is None
    monkeypatch.setenv("OPENAI_API_KEY", "one")
    found = [read_api_key()]
    monkeypatch.setenv("GIQ_API_KEY", " two\n")
    found.append(read_api_key())
    file = tmp_path / "key"
    file.write_text("three\n")
    found.append(read_api_key(file))
    assert [key.reveal() if key else None for key in found] == ["one", "two", "three"]


@pytest.mark.parametrize("content", [b"", b"a b", b"a\r\nX-Evil: 1", "ké".encode(), b"x" * 20_000])
def test_what_cannot_be_a_key_is_refused_and_not_shown(content: bytes, tmp_path: Path) -> None:
    """A key that would break a header, or is none, is a usage error that does not show it."""
    file = tmp_path / "key"
    file.write_bytes(content)
    with pytest.raises(UsageError) as raised:
        read_api_key(file)
    assert "Evil" not in str(raised.value)
    with pytest.raises(UsageError, match="cannot be read"):
        read_api_key(tmp_path / "missing")


@pytest.mark.parametrize(
    ("url", "variables", "refused"),
    [
        ("http://gpu.example:8000", {"http_proxy": "http://p:3128"}, True),
        ("https://gpu.example", {"https_proxy": "http://p:3128"}, True),
        ("https://gpu.example", {"http_proxy": "http://p:3128"}, False),
        ("http://gpu.example", {"all_proxy": "socks5://p:1"}, True),
        ("http://gpu.example", {"http_proxy": "http://p:3128", "no_proxy": ".example"}, False),
        ("http://localhost:8000", {"http_proxy": "http://p:3128"}, False),
        ("http://127.0.0.1:8000", {"all_proxy": "http://p:3128"}, False),
        ("http://gpu.example", {}, False),
    ],
)
def test_proxies_are_refused_with_words(
    url: str, variables: dict[str, str], refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that would apply to the server is a ServerError that says what to do; one that would not is ignored."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if refused:
        with pytest.raises(ServerError, match="NO_PROXY"):
            refuse_proxy(Endpoint(url))
    else:
        refuse_proxy(Endpoint(url))


def test_tls_is_verified(tmp_path: Path) -> None:
    """With its authority's certificate a server is inspected and measured; without it both refuse to go on."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))

    async def work() -> tuple[Heard, Heard, str]:
        async with ExactServer(tls=context) as exact:
            trusted, blind = Endpoint(exact.url, ca_file=ca_file), Endpoint(exact.url)
            found = await inspect(trusted)
            good, bad = Heard(), Heard()
            await run_load(job(exact, closed(2, 20), endpoint=trusted, identity=found), good.hooks)
            try:
                await inspect(blind)
            except GiqError as error:
                told = str(error)
            hidden = identity(metrics=False)
            await run_load(job(exact, closed(1, 1), endpoint=blind, identity=hidden), bad.hooks)
            return good, bad, told

    good, bad, told = on_loop(work)
    assert good.outcomes == {"ok": 20}
    assert all(record.first_token_rule == "usage" for record in good.records)
    assert [(record.outcome, record.error_kind) for record in bad.records] == [("refused", "certificate_not_trusted")]
    assert "--ca-file" in told


def test_a_missing_file_of_certificates_is_a_usage_error(tmp_path: Path) -> None:
    """It names the file."""
    with pytest.raises(UsageError, match="no-such"):
        Endpoint("https://h", ca_file=tmp_path / "no-such.pem").ssl_context()
