"""Names that Kubernetes takes: made from any text, or checked when a user gives them."""

from __future__ import annotations

import hashlib
import re

from giq.errors import UsageError

MAX_LENGTH = 63
"""Characters in a DNS label (RFC 1123), and in the value of a Kubernetes label."""

_SERVICE_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_HASH_DIGITS = 8


def dns_label(text: str) -> str:
    """*text* where it is a DNS label that begins with a letter, else one made from it and its hash.

    The result fits every name that giq writes (a Service's is the strictest: RFC 1035) and every label
    value. Different texts give different labels, but for a clash of 32-bit hashes.
    """
    if _SERVICE_NAME.fullmatch(text):
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_DIGITS]
    words = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if not words[:1].isalpha():
        words = f"x-{words}" if words else "x"
    return f"{words[: MAX_LENGTH - _HASH_DIGITS - 1].rstrip('-')}-{digest}"


def checked_name(text: str) -> str:
    """*text*, the name that a user gave the manifests.

    Raises:
        UsageError: Kubernetes would refuse it for a Service.
    """
    if not _SERVICE_NAME.fullmatch(text):
        raise _refusal("name", text, "begin with a letter")
    return text


def checked_namespace(text: str) -> str:
    """*text*, the namespace that a user gave.

    Raises:
        UsageError: Kubernetes would refuse it.
    """
    if not _NAMESPACE.fullmatch(text):
        raise _refusal("namespace", text, "begin with a letter or digit")
    return text


def _refusal(what: str, text: str, beginning: str) -> UsageError:
    return UsageError(
        f"Kubernetes does not take the {what} {text[:80]!r}",
        hint=f"Use at most {MAX_LENGTH} lower-case letters, digits and dashes; {beginning}, "
        f"end with a letter or digit. For example {dns_label(text)}.",
    )
