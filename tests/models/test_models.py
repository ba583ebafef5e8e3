"""Models: against independent PyTorch builds, and their own contract (pure dicts, dtypes, counts, initial
distributions)."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ls_jax import models
from ls_jax.models import layers

SMALL = {
    "mlp": ("mlp", dict(hidden=(20, 30)), (8, 8, 1)),
    "alexnet 24": ("alexnet", {}, (24, 24, 3)),
    "alexnet 15": ("alexnet", {}, (15, 15, 1)),
    "tensor2tensor": ("resnet", dict(blocks=2, widths=(8, 12, 16), stem=6), (12, 12, 3)),
    "he": ("resnet", dict(blocks=2, widths=(6, 9, 16), stem=6, style="he"), (12, 12, 3)),
    "fastnet": ("fastnet", dict(widths=(6, 16, 12)), (17, 20, 3)),
}


def split(name, shape=(8, 8, 1), seed=0, classes=10, **fields):
    """Graph definition and pure dicts (params, stats) of a freshly built model."""

    def new(key):
        return models.build(name, num_classes=classes, image_shape=shape, rngs=layers.parameter_keys(key), **fields)

    def states(key):
        return [nnx.to_pure_dict(state) for state in nnx.split(new(key), nnx.Param, nnx.BatchStat)[1:]]

    key = jax.random.key(seed)
    return nnx.graphdef(nnx.eval_shape(lambda: new(key))), *jax.jit(states)(key)


@partial(jax.jit, static_argnums=(0, 4))
def apply(graphdef, params, stats, images, train, **options):
    """Output and new statistics."""
    model = nnx.merge(graphdef, params, stats)
    output = model(images, train=train, **options)
    return output, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))


def randomize(params, stats, seed=0):
    """Random scales, biases and running statistics, so that none of them can be forgotten unseen."""
    rng = np.random.default_rng(seed)
    draw = {"scale": (0.5, 1.5), "bias": (-0.5, 0.5), "mean": (-0.5, 0.5), "var": (0.5, 2.0)}

    def leaf(path, value):
        low_high = draw.get(path[-1].key)
        return value if low_high is None else jnp.asarray(rng.uniform(*low_high, value.shape), value.dtype)

    return tuple(jax.tree_util.tree_map_with_path(leaf, tree) for tree in (params, stats))


def batch_of(shape, size=4, seed=1):
    return np.random.default_rng(seed).normal(size=(size, *shape)).astype(np.float32)


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="compares with PyTorch: pip install -e '.[peers]'")


def torch_twin(case, params, stats):
    from benchmarks import torch_models

    name, fields, shape = case
    return torch_models.port(torch_models.MODELS[name](10, shape, **fields), params, stats)


def test_parameter_keys_are_those_of_nnx():
    def draw(rngs):
        return jnp.stack([jax.random.key_data(rngs.params()) for _ in range(3)])

    key = jax.random.key(3)
    traced = jax.jit(lambda key: draw(layers.parameter_keys(key)))
    np.testing.assert_array_equal(draw(layers.parameter_keys(key)), draw(nnx.Rngs(key)))
    np.testing.assert_array_equal(traced(key), draw(nnx.Rngs(key)))


@pytest.mark.parametrize("case", SMALL.values(), ids=SMALL)
@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
def test_equals_pytorch(torch, case, train):
    """Logits, features, gradients and, in training, the new running statistics."""
    name, fields, shape = case
    graphdef, params, stats = split(name, shape, **fields)
    params, stats = randomize(params, stats)
    twin = torch_twin(case, params, stats)
    images, weights = batch_of(shape), batch_of((10,), seed=2)

    def objective(params):
        output, new = apply(graphdef, params, stats, images, train)
        return jnp.sum(output.logits * weights), (output, new)

    (_, (output, new)), gradients = jax.jit(jax.value_and_grad(objective, has_aux=True))(params)
    for child in twin.modules():  # each layer remembers height * width of its input
        child.register_forward_hook(lambda module, inputs, _: setattr(module, "pixels", inputs[0][0, 0].numel()))
    logits, features = twin.train(train)(torch.tensor(images).permute(0, 3, 1, 2))
    (logits * torch.tensor(weights)).sum().backward()
    np.testing.assert_allclose(output.logits, logits.detach(), atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(output.features, features.detach(), atol=1e-4, rtol=1e-4)
    compare_gradients(gradients, twin)
    if train:
        compare_statistics(new, stats, twin, samples=len(images))


def compare_gradients(gradients, twin):
    for name, child in twin.named_children():
        mine = gradients.get(name, {})
        if "kernel" in mine:
            other = child.weight.grad.numpy()
            other = other.T if other.ndim == 2 else other.transpose(2, 3, 1, 0)
            scale = np.abs(other).max()
            np.testing.assert_allclose(mine["kernel"] / scale, other / scale, atol=1e-4, err_msg=name)
        elif "bias" in mine:
            for ours, theirs in (("scale", child.weight), ("bias", child.bias)):
                if ours in mine:
                    np.testing.assert_allclose(mine[ours], theirs.grad, atol=1e-3, rtol=1e-3, err_msg=name)
        else:
            compare_gradients(mine, child)


def compare_statistics(new, old, twin, samples):
    """PyTorch keeps the unbiased variance: its increment is n/(n-1) times ours, n = batch * height * width."""
    for name, child in twin.named_children():
        if name in new and "mean" in new[name]:
            np.testing.assert_allclose(new[name]["mean"], child.running_mean, atol=1e-4, err_msg=name)
            n, kept = samples * child.pixels, (1 - child.momentum) * old[name]["var"]
            unbiased = kept + (new[name]["var"] - kept) * n / (n - 1)
            np.testing.assert_allclose(unbiased, child.running_var, atol=1e-4, rtol=1e-4, err_msg=name)
        elif "kernel" in new.get(name, {}):
            np.testing.assert_array_equal(new[name]["kernel"], old[name]["kernel"], err_msg="fixed filters")
        elif name in new:
            compare_statistics(new[name], old[name], child, samples)


@pytest.mark.parametrize("style, widths", [("tensor2tensor", (32, 64, 128)), ("he", (16, 32, 64))])
def test_full_depth_equals_pytorch(torch, style, widths):
    """All 56 layers, in evaluation; statistics are those of a batch, so that activations keep their scale."""
    case = ("resnet", dict(widths=widths, style=style), (32, 32, 3))
    graphdef, params, stats = split(*case[::2], **case[1])
    images = batch_of((32, 32, 3), size=2)
    for _ in range(2):
        _, stats = jax.jit(lambda stats: apply(graphdef, params, stats, images, True))(stats)
    twin = torch_twin(case, params, stats)
    output, _ = jax.jit(lambda stats: apply(graphdef, params, stats, images, False))(stats)
    with torch.no_grad():
        logits, features = twin.eval()(torch.tensor(images).permute(0, 3, 1, 2))
    scale = float(features.abs().max())
    np.testing.assert_allclose(output.features / scale, features / scale, atol=1e-4)
    np.testing.assert_allclose(output.logits / scale, logits / scale, atol=1e-4)


@pytest.mark.parametrize("case", SMALL.values(), ids=SMALL)
@pytest.mark.parametrize("graph", [True, False], ids=["graph mode", "tree mode"])
def test_state_crosses_as_pure_dicts(case, graph):
    """Nested dicts with string keys and array leaves; a training step keeps their structure, shapes and dtypes."""
    name, fields, shape = case
    with nnx.set_graph_mode(graph):
        graphdef, params, stats = split(name, shape, **fields)
        hash(graphdef)
        run = jax.jit(lambda *arrays: apply.__wrapped__(graphdef, *arrays, True))  # its own trace, for the mode
        output, new = run(params, stats, batch_of(shape))
    assert_plain({**params, **stats})
    assert jax.tree.map(lambda x: (x.shape, x.dtype), new) == jax.tree.map(lambda x: (x.shape, x.dtype), stats)
    head = models.head(params)
    np.testing.assert_allclose(output.logits, output.features @ head["kernel"] + head["bias"], atol=1e-5)


def assert_plain(tree):
    for key, value in tree.items():
        assert type(key) is str
        assert_plain(value) if isinstance(value, dict) else None
        assert isinstance(value, dict | jax.Array) and not isinstance(value, nnx.Variable)


@pytest.mark.parametrize("case", SMALL.values(), ids=SMALL)
def test_bfloat16_compute(case):
    """Parameters, statistics, logits and features stay float32, and the result is that of float32 to bfloat16's
    precision."""
    name, fields, shape = case
    graphdef, params, stats = split(name, shape, **fields)
    half, *_ = split(name, shape, dtype="bfloat16", **fields)
    images = batch_of(shape, size=16)
    exact, _ = apply(graphdef, params, stats, images, True)
    output, new = apply(half, params, stats, images, True)
    leaves = jax.tree.leaves((params, new, output))
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float32")}
    error = np.linalg.norm(output.logits - exact.logits) / np.linalg.norm(exact.logits)
    assert 1e-5 < error < 0.05


@pytest.mark.parametrize(
    "name, fields, shape, count",
    [
        ("mlp", {}, (28, 28, 1), 784 * 1200 + 1200 + 1200 * 1200 + 1200 + 12010),
        ("alexnet", {}, (24, 24, 3), 4864 + 102464 + 2304 * 384 + 384 + 384 * 192 + 192 + 1930),
        ("resnet", dict(style="he", widths=(16, 32, 64)), (32, 32, 3), 853_018),  # the count everyone reports
        ("resnet", dict(style="he", widths=(16, 32, 64), blocks=3), (32, 32, 3), 269_722),  # ResNet-20
        ("fastnet", {}, (32, 32, 3),
         24 + 9 * (24 * 64 + 64 * 64 + 64 * 256 + 3 * 256 * 256) + 2 * (64 + 256 + 256) + 2560),
    ],
)
def test_parameter_counts(name, fields, shape, count):
    model = nnx.eval_shape(
        lambda: models.build(name, num_classes=10, image_shape=shape, rngs=nnx.Rngs(0), **fields)
    )
    assert sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param))) == count


def test_initial_distributions():
    """MLP N(0, 0.03^2); AlexNet truncated at two uncorrected deviations (0.880 std); variance scaling in the
    ResNets."""
    _, mlp, _ = split("mlp", (28, 28, 1))
    np.testing.assert_allclose(jnp.std(mlp["dense2"]["kernel"]), 0.03, rtol=0.01)
    assert jnp.abs(mlp["dense2"]["kernel"]).max() > 4 * 0.03 and not mlp["dense2"]["bias"].any()
    _, he, _ = split("mlp", (28, 28, 1), init_std=None)
    np.testing.assert_allclose(jnp.std(he["dense2"]["kernel"]), (2 / 1200) ** 0.5, rtol=0.01)

    _, alexnet, _ = split("alexnet", (24, 24, 3))
    stds = {"conv1": 0.05, "conv2": 0.05, "dense1": 0.04, "dense2": 0.04, "head": 1 / 192}
    biases = {"conv1": 0.0, "conv2": 0.1, "dense1": 0.1, "dense2": 0.1, "head": 0.0}
    for layer, std in stds.items():
        kernel = alexnet[layer]["kernel"]
        np.testing.assert_allclose(jnp.std(kernel), 0.880 * std, rtol=0.04)
        assert jnp.abs(kernel).max() <= 2.001 * std
        assert (alexnet[layer]["bias"] == biases[layer]).all()

    for style, gain in (("tensor2tensor", 1.0), ("he", 2.0)):
        _, resnet, _ = split("resnet", (32, 32, 3), blocks=1, style=style)
        kernel = resnet["group3_block1"]["conv2"]["kernel"]
        np.testing.assert_allclose(jnp.std(kernel), (gain / (9 * 128)) ** 0.5, rtol=0.01)


def test_dropout_is_keyed_per_example():
    """A permuted batch with permuted keys gives the permuted result; half of the features are dropped, the rest
    doubled."""
    graphdef, params, stats = split("mlp", hidden=(400,), dropout=0.5)
    images, keys = batch_of((8, 8, 1), size=64), jax.random.split(jax.random.key(0), 64)
    order = np.random.default_rng(0).permutation(64)
    train, _ = apply(graphdef, params, stats, images, True, dropout_keys=keys)
    permuted, _ = apply(graphdef, params, stats, images[order], True, dropout_keys=keys[order])
    evaluated, _ = apply(graphdef, params, stats, images, False)
    np.testing.assert_allclose(train.features[order], permuted.features, atol=1e-6)
    kept = train.features != 0
    np.testing.assert_allclose(train.features[kept], 2 * evaluated.features[kept], rtol=1e-4)
    assert abs(kept.sum() / (evaluated.features > 0).sum() - 0.5) < 0.02
    with pytest.raises(ValueError, match="dropout_keys"):
        apply(graphdef, params, stats, images, True)


def test_batch_statistics_are_those_of_all_shards():
    """Under shard_map over `data`: outputs, statistics and gradients equal the unsharded ones, and shards agree."""
    if jax.device_count() < 2:
        pytest.skip("needs two devices: jax_num_cpu_devices")
    fields = dict(blocks=1, widths=(8, 12, 16), stem=6)
    graphdef, params, stats = split("resnet", (8, 8, 3), **fields)
    synced, *_ = split("resnet", (8, 8, 3), axis_name="data", **fields)
    images = batch_of((8, 8, 3), size=8)

    def step(graphdef, params, images, axis_name=None):
        def objective(params):
            output, new = apply(graphdef, params, stats, images, True)
            loss = jnp.mean(jax.nn.logsumexp(output.logits, axis=-1))
            return (jax.lax.pmean(loss, axis_name) if axis_name else loss), new

        (loss, new), gradients = jax.value_and_grad(objective, has_aux=True)(params)
        return loss, new, gradients

    mesh = jax.make_mesh((2,), ("data",), (jax.sharding.AxisType.Auto,), devices=jax.devices()[:2])
    replicated, sharded = jax.P(), jax.P("data")
    parallel = jax.shard_map(
        lambda params, images: step(synced, params, images, "data"),
        mesh=mesh,
        in_specs=(replicated, sharded),
        out_specs=replicated,
    )
    expected = jax.jit(lambda params, images: step(graphdef, params, images))(params, images)
    result = jax.jit(parallel)(params, images)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5, rtol=1e-3), result, expected)


@pytest.mark.parametrize("side, padding", [(1, "SAME"), (7, "SAME"), (12, "SAME"), (7, "VALID"), (12, "VALID")])
def test_max_pool_equals_windowed_reduction(side, padding):
    """Values and gradients, on even and odd sides."""
    x = batch_of((side, side, 3))
    plain = lambda x: nnx.max_pool(x, (3, 3), strides=(2, 2), padding=padding)
    ours = lambda x: layers.max_pool(x, padding)
    weights = np.random.default_rng(0).normal(size=plain(x).shape).astype(np.float32)
    both = jax.jit(lambda x: [jax.value_and_grad(lambda x: jnp.vdot(f(x), weights))(x) for f in (ours, plain)])
    (ours, gradient), (theirs, plain_gradient) = both(x)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    np.testing.assert_allclose(gradient, plain_gradient, atol=1e-6)


def test_max_pool_gives_ties_to_one_entry():
    gradient = jax.jit(jax.grad(lambda x: layers.max_pool(x).sum()))(jnp.ones((1, 3, 3, 1)))
    assert gradient.sum() == 4 and (gradient == jnp.round(gradient)).all()


def test_fused_norm_equals_plain_formulas():
    """relu(residual + normalized x) and its gradients against autodiff of the textbook formulas."""
    rng = np.random.default_rng(0)
    x, residual, weights = (jnp.asarray(rng.normal(size=(4, 5, 5, 3)), jnp.float32) for _ in range(3))
    scale, bias = (jnp.asarray(rng.uniform(-1, 2, 3), jnp.float32) for _ in range(2))

    def fused(x, residual, scale, bias):
        norm = layers.BatchNorm(3)
        norm.scale[...], norm.bias[...] = scale, bias
        return jnp.sum(weights * norm(x, train=True, relu=True, residual=residual))

    def plain(x, residual, scale, bias):
        mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
        return jnp.sum(weights * nnx.relu((x - mean) / jnp.sqrt(var + 1e-5) * scale + bias + residual))

    arguments = (x, residual, scale, bias)
    ours, theirs = (jax.jit(jax.value_and_grad(f, argnums=(0, 1, 2, 3)))(*arguments) for f in (fused, plain))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5, rtol=1e-4), ours, theirs)


def test_relu_of_sum_is_exactly_zero_where_inactive():
    x, shift = jnp.asarray([[-3.0, 0.1], [2.0, -0.3]]), jnp.asarray([0.7, 0.2])
    y, pullback = jax.vjp(layers.relu_of_sum, x, shift)
    np.testing.assert_allclose(y, [[0.0, 0.3], [2.7, 0.0]], rtol=1e-6)
    assert y[0, 0] == 0 and y[1, 1] == 0
    dx, dshift = pullback(jnp.ones((2, 2)))
    np.testing.assert_array_equal(dx, [[0.0, 1.0], [1.0, 0.0]])
    np.testing.assert_array_equal(dshift, [1.0, 1.0])


def test_members_by_vmap_equal_solo_runs():
    graphdef, params, stats = split("resnet", (8, 8, 3), blocks=1, widths=(8, 12, 16), stem=6)
    members = [randomize(params, stats, seed) for seed in range(3)]
    images = batch_of((8, 8, 3), size=8)
    run = lambda params, stats: apply(graphdef, params, stats, images, True)
    together = jax.jit(jax.vmap(run))(*jax.tree.map(lambda *leaves: jnp.stack(leaves), *members))
    for i, member in enumerate(members):
        solo = run(*member)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a[i], b, atol=1e-4, rtol=1e-4), together, solo)


@pytest.mark.parametrize(
    "name, fields, message",
    [
        ("resent", {}, "unknown model 'resent' (did you mean 'resnet'?)"),
        ("mlp", dict(hiden=(3,)), "model 'mlp' has no field 'hiden' (did you mean 'hidden'?)"),
        ("mlp", dict(dropout=1.0), "config.model.dropout=1.0 must lie in [0, 1)"),
        ("mlp", dict(hidden=3),
         "config.model.hidden=3 must be a tuple, each of which must be a whole number of at least 1"),
        ("alexnet", dict(width=3), "model 'alexnet' has no field 'width'; it has none"),
        ("inception_v4", dict(blocks=(4, 7)), "config.model.blocks=(4, 7) must be a tuple of 3, each"),
        ("resnet", dict(style="huh"), "config.model.style='huh' must be one of tensor2tensor, he"),
        ("inception_v4", {}, "needs pictures of at least 75x75 pixels, not 8x8"),
        ("resnet", dict(style="he", widths=(32, 16)), "cannot narrow from 32 to 16 channels"),
    ],
)
def test_bad_input_is_named(name, fields, message):
    with pytest.raises(ValueError) as error:
        models.build(name, num_classes=10, image_shape=(8, 8, 3), rngs=nnx.Rngs(0), **fields)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_inception_is_timms():
    """42,679,816 parameters and 1,536 features, as timm's (tests/modes/test_import_timm.py compares their values)."""
    build = partial(models.build, "inception_v4", num_classes=1000, image_shape=(299, 299, 3))
    model = nnx.eval_shape(lambda: build(rngs=layers.parameter_keys(jax.random.key(0))))
    assert sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param))) == 42_679_816
    images = jax.ShapeDtypeStruct((2, 299, 299, 3), jnp.float32)
    output = jax.eval_shape(lambda model, images: model(images, train=False), model, images)
    assert output.features.shape == (2, 1536) and output.auxiliary_logits is None


def test_inceptions_auxiliary_classifier_is_for_training():
    """On 299 pixels its convolution covers 5x5 positions, as in TF-slim; on small pictures it covers what there is."""
    new = lambda size: nnx.eval_shape(lambda: models.build(
        "inception_v4", num_classes=1001, image_shape=(size, size, 3), rngs=nnx.Rngs(0), blocks=(0, 1, 0),
        auxiliary=True,
        dropout=0.0))
    assert new(299).auxiliary.whole.conv.kernel.shape == (5, 5, 128, 768)
    for size in (75, 139):
        images = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
        for train, shape in ((True, (2, 1001)), (False, None)):
            output = jax.eval_shape(lambda model, images, train=train: model(images, train=train), new(size), images)
            assert getattr(output.auxiliary_logits, "shape", None) == shape


def test_average_pool_leaves_out_the_padding():
    x = batch_of((5, 1, 2))
    window, strides = (1, 3, 3, 1), (1, 1, 1, 1)
    total, count = (jax.lax.reduce_window(value, 0.0, jax.lax.add, window, strides, "SAME")
                    for value in (x, jnp.ones_like(x)))
    np.testing.assert_allclose(layers.average_pool(jnp.asarray(x)), total / count, atol=1e-6)


def test_batch_norm_takes_its_momentum_and_epsilon():
    norm = layers.BatchNorm(2, momentum=0.75, epsilon=0.5)
    x = jnp.asarray(batch_of((3, 3, 2)))
    y = norm(x, train=True)
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    np.testing.assert_allclose(y, (x - mean) / jnp.sqrt(var + 0.5), atol=1e-5)
    np.testing.assert_allclose(norm.mean[...], 0.25 * mean, atol=1e-6)
    np.testing.assert_allclose(norm.var[...], 0.75 + 0.25 * var, rtol=1e-5)


def test_product_of_bfloat16_is_summed_in_float32_also_in_the_gradient():
    rng = np.random.default_rng(0)
    x, kernel = (jnp.asarray(rng.normal(size=shape), jnp.bfloat16) for shape in ((3, 40, 50), (50, 20)))
    weights = jnp.asarray(rng.normal(size=(3, 40, 20)), jnp.bfloat16)
    through = lambda product: jax.jit(
        jax.value_and_grad(lambda *args: jnp.sum(product(*args) * weights.astype(jnp.float32)), (0, 1)))
    value, gradients = through(layers.product)(x, kernel)
    exact_value, exact = through(jnp.matmul)(x.astype(jnp.float32), kernel.astype(jnp.float32))
    np.testing.assert_allclose(value, exact_value, rtol=1e-5)
    for ours, theirs in zip(gradients, exact):
        assert ours.dtype == jnp.bfloat16
        np.testing.assert_allclose(ours.astype(jnp.float32), theirs, rtol=2**-8, atol=2**-8)
    batched = jax.vmap(jax.grad(lambda x, kernel: jnp.sum(layers.product(x, kernel)), (0, 1)),
                       in_axes=(0, None))(x, kernel)
    assert [g.shape for g in batched] == [(3, 40, 50), (3, 50, 20)]


def test_models_declare_what_is_fastest_and_need_not(monkeypatch):
    """The measured facts of each network, typed anew; a class that declares none has the defaults."""
    assert {name: models.cpu_fusion(name) for name in models.MODELS} == {
        "mlp": None, "alexnet": None, "transformer": None, "fastnet": None,
        "resnet": "LIBRARY_FUSION_TYPE_DOT,LIBRARY_FUSION_TYPE_ELTWISE,LIBRARY_FUSION_TYPE_REDUCE",
        "inception_v4": "LIBRARY_FUSION_TYPE_DOT,LIBRARY_FUSION_TYPE_REDUCE"}
    assert [name for name in models.MODELS if models.vmap_members(name)] == ["mlp", "alexnet"]

    class Undeclared(nnx.Module):
        FIELDS = {}

    monkeypatch.setitem(models.MODELS, "undeclared", Undeclared)
    assert models.cpu_fusion("undeclared") is None and not models.vmap_members("undeclared")
