"""The Transformer for translation (Vaswani et al. 2017), as tensor2tensor's `transformer_base_v3` (paper, A.3)."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Key

from ls_jax.data.text.tokens import PADDING, Tokens
from ls_jax.fields import Field, between, whole
from ls_jax.models.layers import Linear, Output, dropout, product, transposed


class Kept(NamedTuple):
    """Keys and values for decoding, each in the layout that its matrix product reads, so that no step transposes."""

    keys: Float[Array, "rows heads size places"]
    values: Float[Array, "rows heads places size"]


class Cache(NamedTuple):
    """The keys and values of earlier steps and of the source sentences; the first axis of each array is the sentence.

    Those that beam k wrote at step t are at position t * beams + k and never move. A mask selects a beam's own past.
    """

    past: tuple[Kept, ...]  # one for each decoder layer
    source: tuple[Kept, ...]
    source_mask: Bool[Array, "rows 1 1 source"]

    def extend(self, cached: int) -> "Cache":
        """The cache with room for `cached` positions, which is steps times beams."""
        def padded(x, axis):
            return jnp.pad(x, [(0, cached - x.shape[axis] if each == axis else 0) for each in range(4)])

        return self._replace(past=tuple(Kept(padded(each.keys, 3), padded(each.values, 2)) for each in self.past))


class Transformer(nnx.Module):
    """Encoder and decoder of `layers` pre-norm layers each. One shared embedding is also the output layer.

    Attention has no biases. The feed-forward layer is ReLU with biases. Each stack ends in a layer norm. Positions are
    sinusoidal. Embeddings are multiplied by √width, and padding's embedding is zero. logits = features @ embedding.T.
    Kernels start from Glorot's uniform distribution, embeddings from N(0, 1/width). In training, `dropout` acts on the
    sum of embedding and position and on the output of each sublayer, `attention_dropout` on the attention weights and
    `relu_dropout` inside the feed-forward layers. tensor2tensor also adds one learned vector to all source embeddings,
    which names the target language; this model does not.
    """

    FIELDS = {
        "layers": Field(6, "layers of the encoder, and of the decoder", whole(1)),
        "width": Field(512, "size of the embedding and of every layer's output", whole(2)),
        "feed_forward": Field(2048, "units inside the feed-forward layers", whole(1)),
        "heads": Field(8, "heads of the attention, which share the width equally", whole(1)),
        "dropout": Field(0.1, "dropout rate of embeddings and of each sublayer's output", between(0, 1)),
        "attention_dropout": Field(0.1, "dropout rate of attention weights", between(0, 1)),
        "relu_dropout": Field(0.1, "dropout rate inside the feed-forward layers", between(0, 1)),
    }

    def __init__(
        self,
        *,
        num_classes: int,
        rngs: nnx.Rngs,
        layers: int,
        width: int,
        feed_forward: int,
        heads: int,
        dropout: float,
        attention_dropout: float,
        relu_dropout: float,
        dtype: jax.typing.DTypeLike = jnp.float32,
    ):
        if width % heads or width % 2:
            raise ValueError(f"a Transformer of width {width} needs an even width that its {heads} heads can share "
                             "equally")
        self.width, self.layers, self.dtype = width, layers, dtype
        self.rates = Rates(dropout, attention_dropout, relu_dropout)
        self.embedding = nnx.Param(nnx.initializers.normal(width**-0.5)(rngs.params(), (num_classes, width)))
        for stack, layer in (("encoder", EncoderLayer), ("decoder", DecoderLayer)):
            for i in range(1, layers + 1):
                setattr(self, f"{stack}{i}", layer(width, feed_forward, heads, dtype=dtype, rngs=rngs))
            setattr(self, f"{stack}_norm", LayerNorm(width, rngs=rngs))

    def __call__(self, tokens: Tokens, *, train: bool, dropout_keys: Key[Array, " rows"] | None = None) -> Output:
        """Logits [rows, target, vocabulary] of the next token at every position, and the features they are made of.

        The features are the decoder's last hidden state. A token sees only its own sentence, and in the target only
        earlier tokens. Results at padding are meaningless. Training with dropout needs `dropout_keys`, one per row.
        """
        if train and any(self.rates) and dropout_keys is None:
            raise ValueError("training with dropout needs dropout_keys: one key per row")
        drop = Drop(dropout_keys if train else None, self.rates)
        memory = self.encode(tokens.source, tokens.source_segments, tokens.source_positions, drop)
        x = self._embed(tokens.target, tokens.target_positions, drop)
        causal = jnp.tril(jnp.ones((x.shape[1], x.shape[1]), bool))
        mask = same_segment(tokens.target_segments, tokens.target_segments) & causal
        source_mask = same_segment(tokens.target_segments, tokens.source_segments)
        for layer in self._stack("decoder"):
            x = layer(x, mask, memory, source_mask, drop)
        return self._output(x)

    def encode(
        self,
        source: Int[Array, "rows source"],
        segments: Int[Array, "rows source"],
        positions: Int[Array, "rows source"],
        drop: "Drop | None" = None,
    ) -> Float[Array, "rows source width"]:
        """The encoder's output, in the compute dtype."""
        drop = drop or Drop(None, self.rates)
        x = self._embed(source, positions, drop)
        mask = same_segment(segments, segments)
        for layer in self._stack("encoder"):
            x = layer(x, mask, drop)
        return self.encoder_norm(x)

    def start(self, source: Int[Array, "rows source"]) -> Cache:
        """The cache to decode these sentences with, one per row, padded at the end. `extend` makes room for steps."""
        present = source != PADDING
        positions = jnp.broadcast_to(jnp.arange(source.shape[1]), source.shape)
        memory = self.encode(source, present.astype(jnp.int32), positions)
        source_kept = tuple(layer.source_attention.keep(memory) for layer in self._stack("decoder"))
        empty = Kept(source_kept[0].keys[..., :0], source_kept[0].values[..., :0, :])
        return Cache((empty,) * self.layers, source_kept, present[:, None, None])

    def step(
        self, cache: Cache, ids: Int[Array, "rows beams"], position: Int[Array, ""],
        seen: Bool[Array, "rows beams cached"]
    ) -> tuple[Float[Array, "rows beams vocabulary"], Cache]:
        """Logits of each beam's next token, and the cache with the keys and values of its last token, `ids`, added.

        `position` is the number of earlier steps; at 0 every beam's token is PADDING. `seen` is true for the cache's
        entries that are a beam's own past, its last token's, at position * beams + beam, included.
        """
        x = self._embed(ids, jnp.broadcast_to(position, ids.shape), Drop(None, self.rates))
        kept = []
        for layer, past, source in zip(self._stack("decoder"), cache.past, cache.source):
            x, past = layer.step(x, past, position * ids.shape[1], seen[:, None], source, cache.source_mask)
            kept.append(past)
        return self._output(x).logits, cache._replace(past=tuple(kept))

    def _stack(self, name):
        return [getattr(self, f"{name}{i}") for i in range(1, self.layers + 1)]

    def _embed(self, ids, positions, drop):
        vectors = self.embedding[...].astype(self.dtype)[ids] * jnp.asarray(self.width**0.5, self.dtype)
        vectors = jnp.where((ids != PADDING)[..., None], vectors, jnp.zeros_like(vectors))
        return drop.result(vectors + sinusoids(positions, self.width).astype(self.dtype))

    def _output(self, x):
        features = self.decoder_norm(x)
        kernel = self.embedding[...].astype(self.dtype)
        return Output(product(features, transposed(kernel)), features.astype(jnp.float32))


class EncoderLayer(nnx.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x))."""

    def __init__(self, width: int, feed_forward: int, heads: int, *, dtype: jax.typing.DTypeLike, rngs: nnx.Rngs):
        options = dict(dtype=dtype, rngs=rngs)
        self.attention_norm = LayerNorm(width, rngs=rngs)
        self.attention = Attention(width, heads, **options)
        self.feed_forward_norm = LayerNorm(width, rngs=rngs)
        self.feed_forward = FeedForward(width, feed_forward, **options)

    def __call__(self, x, mask, drop):  # noqa: D102  (the class says what it does)
        y = self.attention_norm(x)
        x = x + drop.result(self.attention(y, self.attention.read(y), mask, drop))
        return x + drop.result(self.feed_forward(self.feed_forward_norm(x), drop))


class DecoderLayer(nnx.Module):
    """An encoder layer with attention to the source between its two parts."""

    def __init__(self, width: int, feed_forward: int, heads: int, *, dtype: jax.typing.DTypeLike, rngs: nnx.Rngs):
        options = dict(dtype=dtype, rngs=rngs)
        self.attention_norm = LayerNorm(width, rngs=rngs)
        self.attention = Attention(width, heads, **options)
        self.source_attention_norm = LayerNorm(width, rngs=rngs)
        self.source_attention = Attention(width, heads, **options)
        self.feed_forward_norm = LayerNorm(width, rngs=rngs)
        self.feed_forward = FeedForward(width, feed_forward, **options)

    def __call__(self, x, mask, memory, memory_mask, drop):  # noqa: D102
        y = self.attention_norm(x)
        x = x + drop.result(self.attention(y, self.attention.read(y), mask, drop))
        y = self.source_attention_norm(x)
        x = x + drop.result(self.source_attention(y, self.source_attention.read(memory), memory_mask, drop))
        return x + drop.result(self.feed_forward(self.feed_forward_norm(x), drop))

    def step(self, x, past, at, seen, source, source_mask):
        """The layer's output for each beam's last token, `x`; and `past`, with its keys and values written at `at`."""
        y = self.attention_norm(x)
        new = self.attention.keep(y)
        write = functools.partial(jax.lax.dynamic_update_slice_in_dim, start_index=at)
        past = Kept(write(past.keys, new.keys, axis=3), write(past.values, new.values, axis=2))
        x = x + self.attention.recall(y, past, seen)
        x = x + self.source_attention.recall(self.source_attention_norm(x), source, source_mask)
        return x + self.feed_forward(self.feed_forward_norm(x), Drop(None, Rates(0, 0, 0))), past


class Attention(nnx.Module):
    """Multi-head scaled dot-product attention without biases."""

    def __init__(self, width: int, heads: int, *, dtype: jax.typing.DTypeLike, rngs: nnx.Rngs):
        options = dict(use_bias=False, kernel_init=nnx.initializers.glorot_uniform(), dtype=dtype, rngs=rngs)
        self.query, self.key, self.value, self.out = (Linear(width, width, **options) for _ in range(4))
        self.heads = heads

    def read(self, x: Float[Array, "rows keys width"]) -> tuple[Float[Array, "rows keys heads size"], ...]:
        """Keys and values of `x`."""
        return self._split(self.key(x)), self._split(self.value(x))

    def __call__(self, x, keys_values, mask, drop):
        """Attention of `x` to the keys and values; the mask is [rows, 1, positions, keys], true where one may look."""
        query, (keys, values) = self._split(self.query(x)), keys_values
        if drop.keys is None or not drop.rates.attention:
            with jax.numpy_dtype_promotion("standard"):  # its softmax of bfloat16 is in float32
                y = jax.nn.dot_product_attention(query, keys, values, mask=mask)
        else:  # the same with dropout of the weights, which jax.nn.dot_product_attention does not have
            scores = jnp.einsum("rqhs,rkhs->rhqk", query, keys, preferred_element_type=jnp.float32)
            scores = jnp.where(mask, scores * query.shape[-1] ** -0.5, jnp.finfo(jnp.float32).min)
            weights = jax.nn.softmax(scores, axis=-1)
            y = jnp.einsum("rhqk,rkhs->rqhs", drop.attention(weights.astype(values.dtype)), values)
        return self.out(y.reshape(x.shape))

    def keep(self, x: Float[Array, "rows places width"]) -> Kept:
        """Keys and values of `x` in the layout that `recall` reads."""
        keys, values = self.read(x)
        return Kept(keys.transpose(0, 2, 3, 1), values.transpose(0, 2, 1, 3))

    def recall(self, x, kept, mask):
        """Attention of `x` to keys and values from `keep`, without dropout."""
        query = self._split(self.query(x)).swapaxes(1, 2)
        scores = jnp.matmul(query, kept.keys, preferred_element_type=jnp.float32) * query.shape[-1] ** -0.5
        weights = jax.nn.softmax(jnp.where(mask, scores, jnp.finfo(jnp.float32).min), axis=-1)
        y = jnp.matmul(weights.astype(kept.values.dtype), kept.values).swapaxes(1, 2)
        return self.out(y.reshape(x.shape))

    def _split(self, x):
        return x.reshape(*x.shape[:-1], self.heads, -1)


class FeedForward(nnx.Module):
    """Two linear layers with a ReLU between them."""

    def __init__(self, width: int, hidden: int, *, dtype: jax.typing.DTypeLike, rngs: nnx.Rngs):
        options = dict(kernel_init=nnx.initializers.glorot_uniform(), dtype=dtype, rngs=rngs)
        self.dense1, self.dense2 = Linear(width, hidden, **options), Linear(hidden, width, **options)

    def __call__(self, x, drop):  # noqa: D102
        return self.dense2(drop.relu(nnx.relu(self.dense1(x))))


class LayerNorm(nnx.LayerNorm):
    """Layer norm with scale and bias, ε = 1e-6, computed in float32 for every compute dtype."""

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        super().__init__(width, epsilon=1e-6, rngs=rngs)

    def __call__(self, x):  # noqa: D102
        return super().__call__(x.astype(jnp.float32)).astype(x.dtype)


def sinusoids(positions: Int[Array, "*places"], width: int) -> Float[Array, "*places width"]:
    """tensor2tensor's position encoding: width/2 sines, then width/2 cosines, of wavelengths 2π to 10,000 · 2π."""
    scales = 10_000.0 ** -np.linspace(0, 1, width // 2, dtype=np.float32)
    angles = positions[..., None].astype(jnp.float32) * scales
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def same_segment(queries: Int[Array, "rows places"],
                 keys: Int[Array, "rows keys"]) -> Bool[Array, "rows 1 places keys"]:
    """Whether each key belongs to the query's sentence. Padding sees padding, so every softmax has something to see."""
    return (queries[:, :, None] == keys[:, None, :])[:, None]


class Rates(NamedTuple):
    """Dropout rates."""

    result: float
    attention: float
    relu: float


class Drop:
    """The dropout of one forward pass. Each call has its own keys; without keys nothing is dropped."""

    def __init__(self, keys: Key[Array, " rows"] | None, rates: Rates):
        self.keys, self.rates, self._calls = keys, rates, 0

    def result(self, x):
        """Dropout of a sublayer's output."""
        return self._drop(x, self.rates.result)

    def attention(self, x):
        """Dropout of attention weights."""
        return self._drop(x, self.rates.attention)

    def relu(self, x):
        """Dropout of a feed-forward layer's activations."""
        return self._drop(x, self.rates.relu)

    def _drop(self, x, rate):
        if self.keys is None or not rate:
            return x
        self._calls += 1
        return dropout(x, rate, jax.vmap(jax.random.fold_in, in_axes=(0, None))(self.keys, self._calls))
