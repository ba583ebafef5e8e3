"""The rivals of label smoothing: against PyTorch in float64, at the ends of float32, over classes that do not exist,
and off."""
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ls_jax import losses
from ls_jax.data.batch import Batch
from ls_jax.training import step, sweep

STRENGTHS = {  # of each term, with a scale at which its parts are all at work
    "label_smoothing": [{"alpha": 0.1}, {"alpha": -0.05}],
    "negative_smoothing": [{"negative_smoothing": 0.05}],
    "max_suppression": [{"max_suppression": 0.1}],
    "confidence_penalty": [{"confidence_penalty": 0.3}],
    "focal": [{"focal": 3.0}, {"focal": 0.5}, {"focal": 3.0, "focal_low": 5.0}],
    "margin_penalty": [{"margin_penalty": 0.1, "margin": 6.0}, {"margin_penalty": 0.1}],
    "acls": [{"acls": 0.1, "acls_margin": 6.0}, {"acls": 0.1}],
    "logit_penalty": [{"logit_penalty": 2e-3}],
    "poly1": [{"poly1": 1.0}, {"poly1": -1.0}],
}
CASES = [(name, strengths) for name, several in STRENGTHS.items() for strengths in several]


def in_torch(torch, logits, label, strengths):
    """The whole loss of one example, written anew from the sources, of a tensor of the classes that it has."""
    of = lambda name, off=0.0: strengths.get(name, off)
    log_p = torch.log_softmax(logits, 0)
    p, nll = log_p.exp(), -log_p[label]
    classes, largest = len(logits), logits.max()
    smoothing = of("alpha") - of("negative_smoothing")
    targets = torch.full_like(logits, smoothing / classes)
    targets[label] = 1 - smoothing + smoothing / classes
    value = -(targets * log_p).sum()
    gamma = of("focal_low", of("focal")) if float(p[label]) < 0.2 else of("focal")
    others = torch.cat((logits[:label], logits[label + 1:]))
    if gamma and len(others):
        log_wrong = torch.logsumexp(others, 0) - torch.logsumexp(logits, 0)
        value = value + torch.exp(gamma * log_wrong) * nll - nll
    value = value + of("max_suppression") * (largest - logits.mean())
    value = value - of("confidence_penalty") * torch.distributions.Categorical(logits=logits).entropy()
    value = value + of("margin_penalty") * torch.relu(largest - logits - of("margin", 10.0)).mean()
    if of("acls"):
        margin, rest = of("acls_margin", 10.0), torch.arange(classes) != logits.argmax()
        far = torch.relu(largest.detach() - logits[rest] - margin) ** 2
        value = value + of("acls") * (torch.relu(largest - margin) ** 2 + 0.1 * far.sum() / max(classes - 1, 1))
    value = value + of("logit_penalty") / 2 * torch.linalg.vector_norm(logits) ** 2
    return value + of("poly1") * (1 - p[label])


def reference(logits, labels, strengths):
    """Values, and the gradient of their sum, in float64."""
    torch = pytest.importorskip("torch", reason="compares with PyTorch: pip install -e '.[peers]'")
    values, gradient = np.zeros(len(labels)), np.zeros(logits.shape)
    for row, label in enumerate(labels):
        present = np.flatnonzero(logits[row] != -np.inf)
        z = torch.tensor(np.asarray(logits[row][present], np.float64), requires_grad=True)
        value = in_torch(torch, z, int(np.flatnonzero(present == label)[0]), strengths)
        value.backward()
        values[row], gradient[row, present] = value.item(), z.grad.numpy()
    return values, gradient


def ours(logits, labels, strengths, masked):
    strengths = {name: jnp.float32(strength) for name, strength in strengths.items()}
    of = lambda z, strengths: losses.loss(losses.Examples(z, labels, masked=masked), strengths)
    return jax.jit(of)(logits,
                       strengths), jax.jit(jax.grad(lambda z, strengths: of(z, strengths).sum()))(logits, strengths)


def random(scale, examples=40, classes=10, seed=0):
    rng = np.random.default_rng(seed)
    return (scale * rng.normal(size=(examples, classes))).astype(np.float32), rng.integers(0, classes, examples)


@pytest.mark.parametrize("name,strengths", CASES)
@pytest.mark.parametrize("scale", [1.0, 5.0])
@pytest.mark.parametrize("masked", [True, False])
def test_ordinary_logits_are_pytorchs_to_a_millionth(name, strengths, scale, masked):
    logits, labels = random(scale)
    expected, slope = reference(logits, labels, strengths)
    found, gradient = ours(logits, labels, strengths, masked)
    assert losses.used(strengths) == (name,)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())
    np.testing.assert_allclose(gradient, slope, rtol=1e-6, atol=1e-6 * np.abs(slope).max())


@pytest.mark.parametrize("name,strengths", CASES)
@pytest.mark.parametrize("masked", [True, False])
def test_large_logits_are_finite_and_pytorchs(name, strengths, masked):
    """The last four examples are certain in float32: p is 1, of the label or of another class."""
    logits, labels = random(4e3)
    logits, labels = np.clip(logits, -1e4, 1e4), labels.copy()
    logits[-4:], labels[-4:] = 0.0, [0, 1, 0, 1]
    logits[-4:-2, 0], logits[-2:, 0], logits[-2:, 1] = 200.0, 1e4, -1e4
    expected, slope = reference(logits, labels, strengths)
    found, gradient = ours(logits, labels, strengths, masked)
    assert np.isfinite(found).all() and np.isfinite(gradient).all()
    largest = np.abs(logits).max(axis=1, keepdims=True)
    power = 2 if name in ("acls", "logit_penalty") else 1  # the value is a square of logits
    assert (np.abs(found - expected) <= 1e-5 * np.maximum(largest[:, 0], np.abs(expected) * (power == 2))).all()
    assert (np.abs(gradient - slope) <= 1e-5 * np.maximum(1, np.abs(slope).max(axis=1, keepdims=True))).all()


@pytest.mark.parametrize("name,strengths", CASES)
def test_a_class_of_minus_infinity_does_not_exist(name, strengths):
    """Of the last two examples one has its label alone and one the label and one more."""
    logits, labels = random(5.0, examples=20)
    logits[np.random.default_rng(1).random(logits.shape) < 0.4] = -np.inf
    logits[-2:] = -np.inf
    logits[np.arange(20), labels] = random(5.0, examples=20, seed=2)[0][:, 0]
    logits[-1, (labels[-1] + 1) % 10] = 1.0
    expected, slope = reference(logits, labels, strengths)
    found, gradient = ours(logits, labels, strengths, masked=True)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())
    np.testing.assert_allclose(gradient, slope, rtol=1e-6, atol=1e-6 * np.abs(slope).max())
    for row in (np.where(np.arange(10) == 3, -np.inf, 1.0), np.full(10, -np.inf)):  # the label does not exist
        found, gradient = ours(np.float32([row]), np.array([3]), strengths, masked=True)
        assert np.isposinf(found).all() and not gradient.any()


@pytest.mark.parametrize("name,strengths", CASES)
@pytest.mark.parametrize("masked", [True, False])
def test_one_class_is_certain(name, strengths, masked):
    """Nothing is left but what the logit itself costs."""
    found, gradient = ours(np.float32([[3.0]]), np.array([0]), strengths, masked)
    assert found.tolist() == [pytest.approx(9e-3 if name == "logit_penalty" else 0.0)] and np.isfinite(gradient).all()


@pytest.mark.parametrize("scale", [5.0, 4e3])
def test_all_terms_off_are_no_smoothing_to_the_last_bit(scale, optimized):
    """Value and gradient, of tokens, as they are compiled for a sweep of α alone."""
    logits, labels = (each.reshape(4, 10, *each.shape[1:]) for each in random(scale))
    off = losses.followed({name: scalar.off for name, scalar in losses.scalars().items()})
    for strengths in (off, off | {"margin": 3.0, "acls_margin": 3.0}):
        found, gradient = ours(logits, labels, strengths, masked=False)
        plain, slope = ours(logits, labels, {"alpha": 0.0}, masked=False)
        np.testing.assert_array_equal(found, plain)
        np.testing.assert_array_equal(gradient, slope)


def test_focal_of_both_gammas_is_flsd_53():
    """(1-p_y)^5 CE below p_y = 0.2, else (1-p_y)^3 CE."""
    p = np.array([0.1, 0.19, 0.21, 0.5, 0.9])
    logits = np.log(np.stack([p, 1 - p], axis=1)).astype(np.float32)
    found, _ = ours(logits, np.zeros(5, int), {"focal": 3.0, "focal_low": 5.0}, masked=False)
    np.testing.assert_allclose(found, (1 - p) ** np.array([5, 5, 3, 3, 3]) * -np.log(p), rtol=1e-5, atol=1e-7)


def test_smoothing_is_the_sum_over_two_maxsups():
    """Where the label is the largest logit, MaxSup is label smoothing; elsewhere it costs more."""
    logits, labels = random(3.0)
    smoothed, _ = ours(logits, labels, {"alpha": 0.1}, masked=False)
    suppressed, _ = ours(logits, labels, {"max_suppression": 0.1}, masked=False)
    right = logits.argmax(axis=1) == labels
    assert 0 < right.sum() < 40
    np.testing.assert_allclose(smoothed[right], suppressed[right], rtol=1e-5)
    assert (np.asarray(suppressed)[~right] > np.asarray(smoothed)[~right]).all()


# In a step.


@pytest.fixture
def batch():
    images = jax.random.randint(jax.random.key(0), (16, 8, 8, 1), 0, 256).astype(jnp.uint8)
    return Batch(images, jnp.arange(16, dtype=jnp.int32) % 10, jnp.arange(16, dtype=jnp.int32))


def built(config):
    """The step of a config, and its first member's hyper-parameters."""
    hyper = jax.tree.map(jnp.asarray, sweep.take(sweep.grid(config), 0))
    return step.build_step(config, 10, (8, 8, 1), axis_name=None), hyper


def trained(config, batch, steps=3):
    functions, hyper = built(config)
    state = jax.jit(functions.init)(hyper)
    for _ in range(steps):
        state = jax.jit(functions.train)(state, hyper, step.StepInput(batch))
    return state


def test_a_member_without_strengths_is_the_baseline_to_the_last_bit(tiny, batch, optimized):
    tiny.sweep.alpha = (0.0,)
    alone = trained(tiny, batch)
    tiny.sweep.arms = {"a plain": {}, **{name: several[0] for name, several in STRENGTHS.items()}}
    assert set(losses.used(sweep.grid(tiny))) == set(losses.LOSSES) - {"distillation"}
    jax.tree.map(np.testing.assert_array_equal, trained(tiny, batch), alone)


def test_a_sweep_of_alpha_compiles_the_program_without_rivals(tiny, batch, monkeypatch):
    def text():
        functions, hyper = built(tiny)
        state = jax.eval_shape(functions.init, hyper)
        return jax.jit(functions.train).lower(state, hyper, step.StepInput(batch)).as_text()

    whole = text()
    tiny.sweep.arms = {"plain": {}, "suppressed": {"max_suppression": 0.1}}
    assert text() != whole
    tiny.sweep.arms = None
    for name in set(STRENGTHS) - {"label_smoothing"}:
        monkeypatch.delitem(losses.LOSSES, name)
    assert text() == whole


def test_a_strength_with_an_end_goes_there_linearly(tiny, batch):
    tiny.steps, tiny.sweep.arms = 4, {"rises": {"max_suppression": 0.1, "max_suppression_end": 0.3}}
    functions, hyper = built(tiny)
    state = jax.jit(functions.init)(hyper)
    for expected in (0.1, 0.15, 0.2, 0.25):
        given = step.StepInput(batch)
        logits = functions.predict(state, batch).logits
        excess = (logits.max(axis=1) - logits.mean(axis=1)).mean()
        loss = jax.jit(functions.gradients)(state, hyper, given).loss
        np.testing.assert_allclose(loss - losses.cross_entropy(logits, batch.labels).mean(), expected * excess,
                                   rtol=1e-3, atol=1e-6)
        state = jax.jit(functions.train)(state, hyper, given)
    sums = functions.measure(state, hyper, batch, jnp.ones(16, bool))  # after the last step
    logits = functions.predict(state, batch).logits
    np.testing.assert_allclose((sums.loss - sums.nll) / 16,
                               0.3 * (logits.max(axis=1) - logits.mean(axis=1)).mean(), rtol=1e-3)


def test_every_strength_may_have_an_end():
    own = {name for term in losses.LOSSES.values() for name in term.scalars}
    ends = losses.scalars().keys() - own
    assert ends == {f"{name}_end"
                    for name in ("alpha", "negative_smoothing", "max_suppression", "confidence_penalty", "focal",
                                 "margin_penalty", "acls", "logit_penalty", "poly1")}
