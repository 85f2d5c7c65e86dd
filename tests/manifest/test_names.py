"""Names made for Kubernetes, and names that users give."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from giq.errors import UsageError
from giq.manifest.names import checked_name, checked_namespace, dns_label

RFC_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
ANY_TEXT = st.text(alphabet=st.characters(), max_size=400)


@given(ANY_TEXT)
def test_any_text_becomes_a_name_that_kubernetes_takes(text: str) -> None:
    """The label of any text at all is a valid name of a Service and a valid label value."""
    label = dns_label(text)
    assert RFC_1035.fullmatch(label)
    assert len(label) <= 63


@given(ANY_TEXT)
def test_the_label_of_a_label_is_itself(text: str) -> None:
    """Making a label twice changes nothing, and the same text always gives the same label."""
    assert dns_label(dns_label(text)) == dns_label(text) == dns_label(text[:])


@given(st.lists(ANY_TEXT, unique=True, min_size=2, max_size=6))
def test_different_texts_have_different_labels(texts: list[str]) -> None:
    """Cutting and replacing never makes one label of two texts, thanks to the hash."""
    assert len({dns_label(text) for text in texts}) == len(texts)


def test_near_names_stay_apart() -> None:
    """Names that differ only in what Kubernetes lacks (dots, case, length) stay apart."""
    texts = ["llama-3.1-8b", "llama-3-1-8b", "Llama-3-1-8b", "a" * 63, "a" * 64, "a" * 65, "", "-", "--"]
    assert len({dns_label(text) for text in texts}) == len(texts)
    assert dns_label("llama-3-8b") == "llama-3-8b"


@pytest.mark.parametrize(
    "name", ["", "A", "a_b", "-a", "a-", "1a", "a" * 64, "a.b", "a\n", "a\n---\nkind: Pod", "{{7*7}}"]
)
def test_a_wrong_name_is_refused(name: str) -> None:
    """A name that Kubernetes would refuse is an error that offers a valid one."""
    with pytest.raises(UsageError) as refused:
        checked_name(name)
    assert dns_label(name) in str(refused.value)


@pytest.mark.parametrize("name", ["", "Prod", "a/b", "a" * 64, "prod\n"])
def test_a_wrong_namespace_is_refused(name: str) -> None:
    """A namespace that Kubernetes would refuse is an error."""
    with pytest.raises(UsageError, match="namespace"):
        checked_namespace(name)


def test_right_names_pass_unchanged() -> None:
    """Valid names are used as they are; a namespace may begin with a digit."""
    assert checked_name("chat-prod") == "chat-prod"
    assert checked_namespace("1st-team") == "1st-team"
