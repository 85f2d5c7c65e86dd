"""Models: the architecture facts that memory and step time follow from."""

from __future__ import annotations

from typing import Literal

from giq.documents import Entry, Name, Positive, PositiveInt

Precision = Literal["bf16", "fp16", "fp32", "fp8", "int8", "int4", "mxfp4"]

BYTES_PER_VALUE: dict[str, float] = {
    "fp32": 4.0, "bf16": 2.0, "fp16": 2.0, "fp8": 1.0, "int8": 1.0, "int4": 0.5, "mxfp4": 0.53125,
}  # fmt: skip
"""Bytes per stored value; MXFP4 keeps one 8-bit scale per 32 four-bit values (OCP MX v1.0)."""


class Source(Entry, frozen=True, kw_only=True):
    """Where a fact comes from, and of when it is (ISO date)."""

    title: Name
    url: str | None = None
    date: str
    note: str | None = None


class Weights(Entry, frozen=True, kw_only=True):
    """One published set of weights: the repository, its precision and its size on disk in bytes."""

    repository: Name
    precision: Precision
    bytes: PositiveInt


class Experts(Entry, frozen=True, kw_only=True):
    """The mixture-of-experts part of a model; its first `dense_layers` layers have none."""

    count: PositiveInt
    per_token: PositiveInt
    intermediate_size: PositiveInt
    shared_intermediate_size: int = 0
    dense_layers: int = 0


class SlidingWindow(Entry, frozen=True, kw_only=True):
    """Local attention: `layers` of the model's layers see only the last `tokens` tokens."""

    tokens: PositiveInt
    layers: PositiveInt


class LatentAttention(Entry, frozen=True, kw_only=True):
    """Multi-head latent attention: what the KV cache keeps is one compressed vector a token and layer for all heads.

    `kv_rank` values of it stand for keys and values, `rope_dim` carry the position; every tensor-parallel rank keeps
    all of them. `query_dim` and `value_dim` are a head's sizes where prompts are attended uncompressed.
    """

    kv_rank: PositiveInt
    rope_dim: PositiveInt
    query_dim: PositiveInt
    value_dim: PositiveInt


class Model(Entry, frozen=True, kw_only=True):
    """A decoder-only language model.

    Sizes are in values (not bytes). `parameters` counts all weights, `active_parameters` those one
    token uses (equal for dense models). The first of `weights` is what is served by default.
    """

    name: Name
    title: Name
    aliases: tuple[Name, ...] = ()
    parameters: PositiveInt
    active_parameters: PositiveInt
    layers: PositiveInt
    hidden_size: PositiveInt
    intermediate_size: PositiveInt
    attention_heads: PositiveInt
    kv_heads: PositiveInt
    head_dim: PositiveInt
    vocab_size: PositiveInt
    tied_embeddings: bool = False
    max_context: PositiveInt
    experts: Experts | None = None
    sliding_window: SlidingWindow | None = None
    latent_attention: LatentAttention | None = None
    weights: tuple[Weights, ...]
    gated: bool = False
    source: Source

    def kv_values_per_token(self) -> int:
        """Values kept in the KV cache for one token of full attention, over all layers (keys and values)."""
        return self.layers * self.kv_values_on(1)

    def kv_values_on(self, ranks: int) -> int:
        """Values that each of *ranks* tensor-parallel ranks keeps of one token in one layer.

        KV heads are split over the ranks; with more ranks than heads, each keeps a copy of one. A latent vector has
        no heads: every rank keeps it whole.
        """
        if self.latent_attention is not None:
            return self.latent_attention.kv_rank + self.latent_attention.rope_dim
        return 2 * max(1, -(-self.kv_heads // ranks)) * self.head_dim

    def attention_flops(self) -> int:
        """Operations of one query x key pair in all heads of one layer, in a prompt: its score, and its value added."""
        latent = self.latent_attention
        widths = 2 * self.head_dim if latent is None else latent.query_dim + latent.value_dim
        return 2 * self.attention_heads * widths

    def weights_for(self, precision: str) -> Weights | None:
        """The published weights of that precision, if any."""
        return next((item for item in self.weights if item.precision == precision), None)


class Peaks(Entry, frozen=True, kw_only=True):
    """Peak dense rates of one accelerator, in 10^12 operations a second; absent where the chip has none."""

    bf16: Positive
    fp8: Positive | None = None
    int8: Positive | None = None
    fp4: Positive | None = None
