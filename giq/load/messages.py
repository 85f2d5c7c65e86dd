"""The parts of an OpenAI-compatible server's JSON that giq reads; everything else is skipped."""

from __future__ import annotations

import re
from typing import Any

from giq.documents import Entry, json_decoder

MAX_COUNT = 2**31 - 1
_PLAIN = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


class Message(Entry, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """A JSON object from a server, of which only the fields named are read."""


class PromptDetails(Message, frozen=True, kw_only=True):
    """What the prompt's tokens were."""

    cached_tokens: int | None = None


class CompletionDetails(Message, frozen=True, kw_only=True):
    """What the answer's tokens were."""

    reasoning_tokens: int | None = None


class Usage(Message, frozen=True, kw_only=True):
    """The server's own counts of one request so far."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None

    def is_sane(self) -> bool:
        """Whether every count lies in what a table can hold."""
        cached = self.prompt_tokens_details.cached_tokens if self.prompt_tokens_details else None
        reasoning = self.completion_tokens_details.reasoning_tokens if self.completion_tokens_details else None
        counts = (self.prompt_tokens, self.completion_tokens, cached, reasoning)
        return all(count is None or 0 <= count <= MAX_COUNT for count in counts)


class Delta(Message, frozen=True, kw_only=True):
    """What one chunk of a chat adds."""

    content: str | list[Any] | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_calls: list[Any] | None = None

    def answers(self) -> bool:
        """Whether it adds to the answer proper."""
        return bool(self.content or self.tool_calls or self.refusal)

    def reasons(self) -> bool:
        """Whether it adds to the reasoning before the answer."""
        return bool(self.reasoning or self.reasoning_content)


class Choice(Message, frozen=True, kw_only=True):
    """One answer's share of a chunk."""

    text: str | None = None
    delta: Delta | None = None
    finish_reason: str | None = None
    token_ids: list[int] | None = None


class Chunk(Message, frozen=True, kw_only=True):
    """One chunk of a stream (or a whole answer), or the report of an error."""

    object: str | None = None
    choices: list[Choice] | None = None
    usage: Usage | None = None
    error: Any = None
    type: str | None = None
    code: Any = None


_decode_chunk = json_decoder(Chunk)


def read_chunk(data: bytes) -> Chunk:
    """The chunk in *data*.

    Raises:
        ValueError: not JSON, or not a chunk.
    """
    try:
        return _decode_chunk(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def error_kind(chunk: Chunk, named: bool = False) -> str | None:
    """A word for the error that *chunk* reports: its type or code, never its free text; None when it reports none.

    *named*: it is known to be an error by the name of its event.
    """
    if isinstance(chunk.error, dict):
        return _word(chunk.error.get("type")) or _word(chunk.error.get("code")) or "error"
    if chunk.error is not None or chunk.object == "error" or named:
        return _word(chunk.type) or _word(chunk.code) or "error"
    return None


def plain_word(text: str | None) -> str | None:
    """*text* when it is one short word that a table may hold, `other` when not."""
    return None if text is None else (_word(text) or "other")


def _word(value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value) if abs(value) <= MAX_COUNT else "error"
    return value if isinstance(value, str) and _PLAIN.fullmatch(value) else None
