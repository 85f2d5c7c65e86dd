"""The server's own tokenizer, over HTTP (vLLM's POST /tokenize and /detokenize)."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import numpy as np
from numpy.typing import NDArray

from giq.load.endpoint import Endpoint
from giq.load.words import MAX_WORDS, REPEATS, candidates, spelled_out, varied_text

FEWEST_IDS = 32
AT_ONCE = 8


class ServerTokenizer:
    """Asks the server how it splits text; every answer is None where it does not say."""

    def __init__(self, session: aiohttp.ClientSession, endpoint: Endpoint, model: str) -> None:
        self._session = session
        self._endpoint = endpoint
        self._model = model

    async def alphabet(self) -> NDArray[np.int32] | None:
        """Token ids that plain text is made of, sorted: safe in prompts, as no special token is among them."""
        ids = await self._ids(varied_text())
        unique = sorted(set(ids or ()))
        return np.array(unique, dtype=np.int32) if len(unique) >= FEWEST_IDS else None

    async def single_token_words(self, alphabet: NDArray[np.int32]) -> tuple[str, ...]:
        """Words that are exactly one token each when they follow one another."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def decoded(token_id: int) -> str:
            async with gate:
                reply = await self._post("/detokenize", {"model": self._model, "tokens": [token_id]})
            text = reply.get("prompt") if isinstance(reply, dict) else None
            return text if isinstance(text, str) else ""

        async def is_single(word: str) -> bool:
            async with gate:
                ids = await self._ids(spelled_out([word] * REPEATS))
            return ids is not None and len(ids) == REPEATS

        spelled = await asyncio.gather(*(decoded(int(token_id)) for token_id in alphabet[: 2 * MAX_WORDS]))
        words = candidates(spelled)
        single = await asyncio.gather(*(is_single(word) for word in words))
        return tuple(word for word, good in zip(words, single, strict=True) if good)[:MAX_WORDS]

    async def _ids(self, text: str) -> list[int] | None:
        body = {"model": self._model, "prompt": text, "add_special_tokens": False}
        reply = await self._post("/tokenize", body)
        ids = reply.get("tokens") if isinstance(reply, dict) else None
        if not isinstance(ids, list) or not all(type(item) is int and 0 <= item < 2**31 for item in ids):
            return None
        return ids

    async def _post(self, path: str, body: dict[str, Any]) -> Any:
        try:
            async with self._session.post(self._endpoint.prefix + path, json=body, allow_redirects=False) as response:
                return await response.json(content_type=None) if response.status == 200 else None
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return None
