"""Which form of request a server takes: found by sending it tiny ones, the fullest first."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from giq.curve.requests import Record
from giq.errors import ServerError
from giq.load.decoder import Decoded
from giq.load.endpoint import KEY_VARIABLES, Endpoint
from giq.load.identity import FULL_FORM, ServerIdentity
from giq.load.probe import ask_once
from giq.load.request_bytes import BodyWriter, Request
from giq.load.tokenizer import ServerTokenizer
from giq.load.words import COMMON, spelled_out
from giq.workload.workload import Sampling

GUESSED_IDS = np.arange(300, 1300, dtype=np.int32)
"""Ids that are ordinary tokens in every large vocabulary: above the special ones and the single bytes."""

LADDER: tuple[frozenset[str], ...] = (
    FULL_FORM,
    FULL_FORM - {"cache_salt"},
    FULL_FORM - {"cache_salt", "continuous_usage_stats"},
    frozenset({"ignore_eos", "seed", "stream_options"}),
    frozenset({"seed", "stream_options"}),
    frozenset({"stream_options"}),
    frozenset(),
)
"""Sets of optional fields, each a subset of the one before."""

PROBE_INPUT, PROBE_OUTPUT = 16, 2
LONGER_INPUT = 64
REFUSALS = (400, 404, 405, 409, 415, 422, 501)
REFUSED_IN_STREAM = ("BadRequestError", "invalid_request_error", "ValueError", "400")
"""How some servers (vLLM, for a token id that it does not know) refuse a request after status 200."""


async def find_form(endpoint: Endpoint, identity: ServerIdentity, tokenizer: ServerTokenizer) -> ServerIdentity:
    """*identity* with the prompts and fields that the server takes.

    Token ids where it takes them (completions only), else words of one token each.

    Raises:
        ServerError: it refuses or fails even the plainest request.
    """
    found: tuple[ServerIdentity, Record] | None = None
    if endpoint.api == "completions":
        alphabet = identity.alphabet if identity.alphabet is not None else GUESSED_IDS
        by_ids = replace(identity, alphabet=alphabet, accepts_token_ids=True)
        found = await _fullest(endpoint, by_ids)
    if found is None:
        known = () if identity.alphabet is None else await tokenizer.single_token_words(identity.alphabet)
        by_words = replace(identity, alphabet=None, accepts_token_ids=False, words=known or COMMON)
        found = await _fullest(endpoint, by_words)
    if found is None:
        raise ServerError(
            f"the server refuses even the plainest request to {endpoint.generate_path}", where=endpoint.url,
            hint="Does this model generate text? Look at the server's log.",
        )  # fmt: skip
    identity, record = found
    identity = await _with_token_ids(endpoint, identity, record)
    return await _with_overhead(endpoint, identity, record)


async def _fullest(endpoint: Endpoint, identity: ServerIdentity) -> tuple[ServerIdentity, Record] | None:
    """The most fields that the server takes with this form of prompt, and its answer; None when it takes none."""

    async def attempt(fields: frozenset[str]) -> tuple[ServerIdentity, Record] | None:
        tried = replace(identity, fields=fields)
        record = await _ask(endpoint, tried, PROBE_INPUT)
        return None if record is None else (tried, record)

    fullest, *between, plainest = LADDER
    if (found := await attempt(fullest)) is not None:
        return found
    if (last := await attempt(plainest)) is None:  # the prompt is what it refuses
        return None
    for fields in between:
        if (found := await attempt(fields)) is not None:
            return found
    return last


async def _ask(endpoint: Endpoint, identity: ServerIdentity, input_tokens: int) -> Record | None:
    """The record of a tiny request; otherwise as `_answer`."""
    answer = await _answer(endpoint, identity, input_tokens)
    return None if answer is None else answer.record


async def _answer(endpoint: Endpoint, identity: ServerIdentity, input_tokens: int) -> Decoded | None:
    """The answer to a tiny request; None when the server refuses it for what is in it.

    Raises:
        ServerError: it cannot answer at all.
    """
    rng = np.random.default_rng()
    if identity.alphabet is not None:
        prompt: list[int] | str = rng.choice(identity.alphabet, input_tokens).tolist()
    else:
        prompt = spelled_out(rng.choice(identity.words, input_tokens).tolist())
    writer = BodyWriter(endpoint, identity, Sampling(), 0, f"giq-{rng.integers(2**62):x}")
    data = writer.message(prompt, PROBE_OUTPUT)
    answer = await ask_once(endpoint, Request(0, data, input_tokens, PROBE_OUTPUT))
    record = answer.record
    if record.outcome == "ok":
        return answer
    if record.http_status in REFUSALS or record.error_kind in REFUSED_IN_STREAM:
        return None
    if record.http_status in (401, 403):
        raise ServerError(
            f"the server refuses to generate without a valid key (status {record.http_status})", where=endpoint.url,
            hint=f"Set {KEY_VARIABLES[0]}, or give a file that holds the key.",
        )  # fmt: skip
    raise ServerError(
        f"a tiny request failed: {record.outcome} ({record.error_kind})", where=endpoint.url,
        hint="Look at the server's log.",
    )  # fmt: skip


async def _with_token_ids(endpoint: Endpoint, identity: ServerIdentity, record: Record) -> ServerIdentity:
    """Find out whether answers come with their token ids; ask always where chunks do not say how many they carry."""
    if record.first_token_rule == "usage" and not identity.accepts_token_ids:  # prompts could not hold them
        return identity
    tried = replace(identity, fields=identity.fields | {"return_token_ids"})
    again = await _answer(endpoint, tried, PROBE_INPUT)
    if again is None or not again.token_ids or len(again.token_ids) != again.record.output_tokens:
        return identity
    needed = record.first_token_rule != "usage" and again.record.first_token_rule == "token_ids"
    return replace(tried if needed else identity, tells_token_ids=True)


async def _with_overhead(endpoint: Endpoint, identity: ServerIdentity, record: Record) -> ServerIdentity:
    """Note how many tokens the server adds to a prompt, where its own counts say so and it is always as many."""
    if record.input_tokens is None or record.input_tokens == PROBE_INPUT:
        return identity
    longer = await _ask(endpoint, identity, LONGER_INPUT)
    added = record.input_tokens - PROBE_INPUT
    if longer is None or longer.input_tokens != LONGER_INPUT + added or added < 0:
        return identity
    return replace(identity, overhead_tokens=added)
