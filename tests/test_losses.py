"""Losses against closed forms, optax and each other."""
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ls_jax import losses

LABELS = jnp.array([0, 3, 2, 9])


@pytest.fixture
def logits():
    return 3 * jax.random.normal(jax.random.key(0), (4, 10))


@pytest.mark.parametrize("alpha", [0.0, 0.05, 0.1, 0.75])
def test_uniform_targets_are_optax(alpha):
    targets = losses.smooth_labels(LABELS, 10, alpha)
    np.testing.assert_allclose(targets, optax.smooth_labels(jax.nn.one_hot(LABELS, 10), alpha), atol=1e-7)


def test_off_target_is_uniform_at_a_rescaled_alpha():
    """tensor2tensor's α corresponds to the paper's α K/(K-1): paper.md §2.3."""
    off = losses.smooth_labels(LABELS, 10, 0.09, "off_target")
    np.testing.assert_allclose(off, losses.smooth_labels(LABELS, 10, 0.09 * 10 / 9), atol=1e-7)
    np.testing.assert_allclose(off[0], [0.91] + [0.01] * 9, atol=1e-7)


@pytest.mark.parametrize("convention", losses.CONVENTIONS)
@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.6])
def test_loss_equals_the_dense_cross_entropy(logits, alpha, convention):
    dense = optax.softmax_cross_entropy(logits, losses.smooth_labels(LABELS, 10, alpha, convention))
    np.testing.assert_allclose(losses.smoothed_cross_entropy(logits, LABELS, alpha, convention), dense, rtol=2e-6)


def test_hard_loss_is_the_smoothed_loss_at_zero(logits):
    np.testing.assert_allclose(losses.cross_entropy(logits, LABELS), losses.smoothed_cross_entropy(logits, LABELS, 0.0),
                               rtol=1e-6)


# The optimum's logit gap and the loss floor of paper.md §2.3, by α and K.
@pytest.mark.parametrize("alpha,classes,gap,floor", [
    (0.05, 10, 5.252, 0.282), (0.1, 10, 4.511, 0.500), (0.1, 100, 6.804, 0.778), (0.1, 1000, 9.105, 1.015),
    (0.3, 100, 5.457, 1.973), (0.75, 10, 1.466, 2.114)])
def test_optimum_has_the_tabulated_gap_and_floor(alpha, classes, gap, floor):
    def loss(gap):
        return losses.smoothed_cross_entropy(jnp.zeros(classes).at[0].set(gap), jnp.array(0), alpha)
    np.testing.assert_allclose(loss(gap), floor, atol=6e-4)
    np.testing.assert_allclose(jax.grad(loss)(gap), 0, atol=1e-4)


def test_alpha_is_traced_once_for_a_sweep(logits):
    traces = []

    @jax.jit
    def mean_loss(alpha):
        traces.append(alpha)
        return losses.smoothed_cross_entropy(logits, LABELS, alpha).mean()

    values = [float(mean_loss(alpha)) for alpha in (0.0, 0.1, 0.5)]
    assert len(traces) == 1 and len(set(values)) == 3


def test_large_logits_stay_finite():
    logits = jnp.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]])
    np.testing.assert_allclose(losses.smoothed_cross_entropy(logits, jnp.array([0, 0]), 0.1), [1e3, 19e3], rtol=1e-3)
    assert losses.cross_entropy(logits, jnp.array([0, 0])).tolist() == [0.0, 2e4]


def test_distillation_loss_is_the_written_formula(logits):
    teacher = 2 * jax.random.normal(jax.random.key(1), (4, 10))
    expected = (0.3 * optax.softmax_cross_entropy(logits, jax.nn.one_hot(LABELS, 10))
                + 0.7 * optax.softmax_cross_entropy(logits / 2.0, jax.nn.softmax(teacher / 4.0)))
    np.testing.assert_allclose(losses.distillation_loss(logits, teacher, LABELS, 0.7, 4.0, 2.0), expected, rtol=1e-5)


def test_unknown_convention_is_named():
    with pytest.raises(ValueError, match="'fairseq' is unknown: choose 'uniform'"):
        losses.smooth_labels(LABELS, 10, 0.1, "fairseq")
