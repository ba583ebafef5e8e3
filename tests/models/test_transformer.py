"""The Transformer: against PyTorch's own layers, and what packing, padding and causality must not change."""
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ls_jax import models
from ls_jax.data.text.tokens import Tokens
from ls_jax.models import transformer

VOCABULARY = 11
SIZES = dict(layers=1, width=16, feed_forward=24, heads=4)
NO_DROPOUT = dict(dropout=0.0, attention_dropout=0.0, relu_dropout=0.0)
PAIRS = ([3, 4, 5, 1], [6, 7, 1]), ([8, 1], [9, 10, 2, 3, 1])


def build(seed=0, dtype="float32", vocabulary=VOCABULARY, **fields):
    """(apply(params, tokens, ...) -> Output, params), scales and biases drawn so that none can be forgotten unseen."""
    new = lambda key: models.build("transformer", num_classes=vocabulary, rngs=nnx.Rngs(key), dtype=dtype,
                                   **(SIZES | fields))
    params = jax.jit(lambda key: nnx.to_pure_dict(nnx.split(new(key), nnx.Param)[1]))(jax.random.key(seed))
    graphdef = nnx.graphdef(nnx.eval_shape(lambda: new(jax.random.key(0))))
    rng = np.random.default_rng(seed)
    leaf = lambda path, x: x + jnp.asarray(rng.uniform(-0.5, 0.5, x.shape),
                                           x.dtype) if path[-1].key in ("scale", "bias") else x
    apply = jax.jit(lambda params, tokens, train=False, **options: nnx.merge(graphdef,
                                                                             params)(tokens, train=train, **options),
                    static_argnames="train")
    return apply, jax.tree_util.tree_map_with_path(leaf, params)


def pack(rows, source=10, target=12):
    """Tokens of rows of (source, target) pairs; the decoder reads 0 and all but the last of the target."""
    arrays = {name: np.zeros((len(rows), source if "source" in name else target), np.int32) for name in Tokens._fields}
    for row, pairs in enumerate(rows):
        for side, shift in (("source", False), ("target", True)):
            start = 0
            for segment, pair in enumerate(pairs, 1):
                ids = [0, *pair[1][:-1]] if shift else pair[0]
                here = slice(start, start := start + len(ids))
                arrays[side][row, here], arrays[f"{side}_segments"][row, here] = ids, segment
                arrays[f"{side}_positions"][row, here] = range(len(ids))
    return Tokens(**arrays)


def random_tokens(seed=0, rows=3):
    rng = np.random.default_rng(seed)
    sentence = lambda: [*rng.integers(2, VOCABULARY, rng.integers(1, 5)), 1]
    return pack([[(sentence(), sentence()) for _ in range(2)] for _ in range(rows)])


def test_equals_pytorch():
    """Logits, features and every gradient against nn.TransformerEncoder and nn.TransformerDecoder on packed rows
    [peers]."""
    torch = pytest.importorskip("torch", reason="compares with PyTorch: pip install -e '.[peers]'")
    from benchmarks import torch_transformer
    apply, params = build(layers=2, **NO_DROPOUT)
    new_twin = lambda: torch_transformer.Transformer(VOCABULARY, **(SIZES | dict(layers=2)), dropout=0.0)
    twin = torch_transformer.port(new_twin(), params)
    tokens = random_tokens()
    weights = np.random.default_rng(1).normal(size=(*tokens.target.shape, VOCABULARY)).astype(np.float32)
    weights *= (tokens.target_segments > 0)[..., None]
    objective = lambda params: (jnp.sum((output := apply(params, tokens, train=True)).logits * weights), output)
    (_, output), gradients = jax.value_and_grad(objective, has_aux=True)(params)
    logits, features = twin(*(torch.tensor(x) for x in tokens))
    (logits * torch.tensor(weights)).sum().backward()
    real = tokens.target_segments > 0
    np.testing.assert_allclose(output.logits[real], logits.detach().numpy()[real], atol=2e-5, rtol=1e-4)
    np.testing.assert_allclose(output.features[real], features.detach().numpy()[real], atol=2e-5, rtol=1e-4)
    theirs = torch_transformer.port(new_twin(), gradients)  # gradients in PyTorch's layout
    compared = 0
    for (name, ported), parameter in zip(theirs.named_parameters(), twin.parameters()):
        if parameter.requires_grad:
            scale = parameter.grad.abs().max()
            np.testing.assert_allclose(ported.detach() / scale, parameter.grad / scale, atol=1e-4, err_msg=name)
            compared += parameter.numel()
    assert compared == sum(x.size for x in jax.tree.leaves(params))


def test_a_packed_row_is_its_sentences():
    apply, params = build()
    packed, alone = apply(params, pack([PAIRS])), apply(params, pack([[pair] for pair in PAIRS]))
    ends = np.cumsum([0, *(len(target) for _, target in PAIRS)])
    for row, (start, end) in enumerate(zip(ends, ends[1:])):
        for ours, theirs in zip(packed[:2], alone[:2]):  # logits and features
            np.testing.assert_allclose(ours[0, start:end], theirs[row, :end - start], atol=1e-5)


def test_padding_changes_nothing():
    """Neither more of it nor what stands in it."""
    apply, params = build()
    tokens = pack([PAIRS])
    short, long = apply(params, tokens), apply(params, pack([PAIRS], source=17, target=15))
    np.testing.assert_allclose(short.logits[0, :8], long.logits[0, :8], atol=1e-5)
    dirty = tokens._replace(source=np.where(tokens.source_segments > 0, tokens.source, 5),
                            target=np.where(tokens.target_segments > 0, tokens.target, 5))
    np.testing.assert_array_equal(short.logits[0, :8], apply(params, dirty).logits[0, :8])


def test_no_place_sees_later_ones():
    apply, params = build()
    tokens = pack([PAIRS[1:]])
    changed = tokens.target.copy()
    changed[0, 3] = 8
    before, after = apply(params, tokens).logits, apply(params, tokens._replace(target=changed)).logits
    np.testing.assert_array_equal(before[0, :3], after[0, :3])
    assert np.abs(before[0, 3] - after[0, 3]).max() > 1e-3


def test_step_by_step_equals_teacher_forcing():
    """The cached steps' logits, sentences of different lengths side by side, and two beams that keep apart."""
    apply, params = build()
    new = nnx.eval_shape(lambda: models.build("transformer", num_classes=VOCABULARY, rngs=nnx.Rngs(0), **SIZES))
    graphdef, tokens, steps = nnx.graphdef(new), pack([PAIRS[:1], PAIRS[1:]]), 5
    other = np.where(tokens.target > 2, tokens.target - 1, tokens.target)
    beams = np.stack([tokens.target, other], axis=2)
    forced = [apply(params, tokens._replace(target=target)).logits for target in (tokens.target, other)]

    @jax.jit
    def decode(params):
        model, logits = nnx.merge(graphdef, params), []
        cache = model.start(jnp.asarray(tokens.source)).extend(2 * steps)
        for t in range(steps):
            own = (jnp.arange(2 * steps) % 2 == jnp.arange(2)[:, None]) & (jnp.arange(2 * steps) < 2 * t + 2)
            out, cache = model.step(cache, jnp.asarray(beams[:, t]), jnp.int32(t),
                                    jnp.broadcast_to(own, (2, *own.shape)))
            logits.append(out)
        return jnp.stack(logits, axis=2)

    stepped = decode(params)
    for row, (_, target) in enumerate(PAIRS):
        for beam in range(2):
            np.testing.assert_allclose(stepped[row, beam, :len(target)], forced[beam][row, :len(target)], atol=2e-5)


def test_parameter_count_of_the_base_model():
    """Six and six layers at 512 and 2048 over 32,768 pieces, from closed form."""
    width, hidden, vocabulary = 512, 2048, 32_768
    attention, feed_forward, norm = 4 * width**2, 2 * width * hidden + hidden + width, 2 * width
    count = vocabulary * width + 6 * (attention + feed_forward + 2 * norm) + 6 * (2 * attention + feed_forward
                                                                                  + 3 * norm) + 2 * norm
    model = nnx.eval_shape(lambda: models.build("transformer", num_classes=vocabulary, rngs=nnx.Rngs(0)))
    assert sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param))) == count


def test_initial_distributions():
    """Embeddings N(0, 1/width), kernels Glorot-uniform, and so logits of about unit variance."""
    new = lambda: models.build("transformer", num_classes=500, rngs=nnx.Rngs(0),
                               **(SIZES | dict(width=64, feed_forward=256)))
    params = jax.jit(lambda: nnx.to_pure_dict(nnx.split(new(), nnx.Param)[1]))()
    np.testing.assert_allclose(jnp.std(params["embedding"]), 64**-0.5, rtol=0.02)
    kernel = params["decoder1"]["feed_forward"]["dense1"]["kernel"]
    np.testing.assert_allclose(jnp.abs(kernel).max(), (6 / (64 + 256)) ** 0.5, rtol=0.01)
    np.testing.assert_allclose(jnp.std(kernel), (2 / (64 + 256)) ** 0.5, rtol=0.02)


def test_positions_are_tensor2tensors():
    """Sines, then cosines; the last wavelength is 10,000 times the first, 2π."""
    signal = transformer.sinusoids(jnp.arange(5), 8)
    scales = 10_000.0 ** (-np.arange(4) / 3)
    expected = np.concatenate([np.sin(np.outer(range(5), scales)), np.cos(np.outer(range(5), scales))], axis=1)
    np.testing.assert_allclose(signal, expected, atol=1e-6)


def test_dropout_is_keyed_per_row():
    """A permuted batch with permuted keys gives the permuted result, and a row does not depend on its neighbours."""
    apply, params = build(dropout=0.3, attention_dropout=0.3, relu_dropout=0.3)
    tokens, keys, order = random_tokens(), jax.random.split(jax.random.key(0), 3), np.array([2, 0, 1])
    drop = lambda tokens, keys: apply(params, tokens, train=True, dropout_keys=keys).logits
    whole = drop(tokens, keys)
    np.testing.assert_allclose(drop(jax.tree.map(lambda x: x[order], tokens), keys[order]), whole[order], atol=1e-5)
    others = jax.tree.map(lambda x, y: np.concatenate([x[:1], y[1:]]), tokens, random_tokens(seed=1))
    np.testing.assert_allclose(drop(others, keys)[0], whole[0], atol=1e-5)
    with pytest.raises(ValueError, match="dropout_keys"):
        apply(params, tokens, train=True)


@pytest.mark.parametrize("field", ["dropout", "attention_dropout", "relu_dropout", None])
def test_each_dropout_alone(field):
    """Each acts, and in training only; all together at a vanishing rate change nothing."""
    apply, params = build(**(NO_DROPOUT | {field: 0.2} if field else dict.fromkeys(NO_DROPOUT, 1e-9)))
    tokens = random_tokens()
    dropped = apply(params, tokens, train=True, dropout_keys=jax.random.split(jax.random.key(0), 3)).logits
    change = np.abs(dropped - apply(params, tokens).logits).max()
    assert change > 0.02 if field else change < 1e-5


def test_bfloat16_compute():
    """Parameters, logits and features stay float32, and the result is that of float32 to bfloat16's precision."""
    apply, params = build()
    half, own = build(dtype="bfloat16")
    assert {x.dtype for x in jax.tree.leaves(own)} == {jnp.dtype("float32")}
    tokens = random_tokens()
    exact, output = apply(params, tokens), half(params, tokens)
    assert output.logits.dtype == output.features.dtype == jnp.float32
    assert 1e-4 < np.linalg.norm(output.logits - exact.logits) / np.linalg.norm(exact.logits) < 0.05


def test_sizes_that_do_not_fit():
    with pytest.raises(ValueError, match="width 18 needs .* 4 heads"):
        models.build("transformer", num_classes=5, rngs=nnx.Rngs(0), width=18, heads=4)
    with pytest.raises(ValueError, match="no field 'depth'"):
        models.build("transformer", num_classes=5, rngs=nnx.Rngs(0), depth=4)
