"""Losses against closed forms, optax and each other."""
import inspect

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pytest

from ls_jax import losses
from tests.distilled import distilled

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


def test_distillation_is_the_written_formula(logits):
    teacher = 2 * jax.random.normal(jax.random.key(1), (4, 10))
    expected = (0.3 * optax.softmax_cross_entropy(logits, jax.nn.one_hot(LABELS, 10))
                + 0.7 * optax.softmax_cross_entropy(logits / 2.0, jax.nn.softmax(teacher / 4.0)))
    np.testing.assert_allclose(distilled(logits, teacher, LABELS, 0.7, 4.0, 2.0), expected, rtol=1e-5)


@pytest.mark.parametrize("name", losses.LOSSES)
@pytest.mark.parametrize("masked", [True, False])
def test_a_term_that_is_off_is_exactly_nothing(logits, name, masked):
    """Neither the loss nor its gradient differs from cross-entropy's in the last bit."""
    given = logits.at[0, 4].set(-jnp.inf) if masked else logits
    plain = lambda z: losses.cross_entropy(z, LABELS, masked=masked)
    off = losses.followed({scalar: each.off for scalar, each in losses.LOSSES[name].scalars.items()})
    off = {scalar: jnp.float32(value) for scalar, value in off.items()}
    with_term = lambda z: losses.loss(losses.Examples(z, LABELS, logits[::-1], masked=masked), off, (name,))
    np.testing.assert_array_equal(with_term(given), plain(given))
    np.testing.assert_array_equal(jax.grad(lambda z: with_term(z).sum())(given),
                                  jax.grad(lambda z: plain(z).sum())(given))


def test_terms_add_and_a_share_is_of_their_sum(logits):
    teacher, strengths = logits[::-1], {"alpha": 0.2, "beta": 0.6, "temperature": 2.0}
    labels_loss = losses.smoothed_cross_entropy(logits, LABELS, 0.2)
    soft = losses.soft_cross_entropy(logits, jax.nn.softmax(teacher / 2))
    np.testing.assert_allclose(losses.loss(losses.Examples(logits, LABELS, teacher), strengths),
                               0.4 * labels_loss + 0.6 * soft, rtol=1e-5)
    # without a teacher
    np.testing.assert_array_equal(losses.loss(losses.Examples(logits, LABELS), strengths), labels_loss)
    assert losses.used(["seed", "alpha"]) == ("label_smoothing",) and losses.used(["seed"]) == ()


def test_unknown_convention_is_named():
    with pytest.raises(ValueError, match="'fairseq' is unknown: choose 'uniform'"):
        losses.smooth_labels(LABELS, 10, 0.1, "fairseq")


# Labels of any integer type, classes that do not exist (-inf), one class, labels that are none.

INTEGERS = [*"bBhHiIlL", ">i2", ">u4", ">i8"]


def dense(logits, label, alpha, convention="uniform"):
    """The loss of one example over its finite classes, in float64; and its gradient, 0 elsewhere."""
    logits = np.asarray(logits, np.float64)
    present = np.flatnonzero(logits != -np.inf)
    targets = np.zeros(len(logits))
    off = alpha / len(present) if convention == "uniform" else alpha / max(len(present) - 1, 1)
    targets[present] = off
    targets[label] = 1 - off * (len(present) - 1)
    log_p = logits - np.logaddexp.reduce(logits)
    return -np.sum(targets[present] * log_p[present]), np.exp(log_p) - targets


@pytest.mark.parametrize("convention", losses.CONVENTIONS)
@pytest.mark.parametrize("alpha", [0.0, 0.1])
def test_a_class_of_minus_infinity_does_not_exist(logits, convention, alpha):
    masked = np.array(logits)
    masked[0, 5:] = masked[1, [0, 2, 9]] = masked[3, :9] = -np.inf  # the last example has its label alone
    loss = lambda z: losses.smoothed_cross_entropy(z, LABELS, alpha, convention)
    found, gradient = jax.jit(loss)(masked), jax.jit(jax.grad(lambda z: loss(z).sum()))(masked)
    for row, label in enumerate(LABELS):
        expected = dense(masked[row], label, alpha, convention)
        np.testing.assert_allclose(found[row], expected[0], rtol=2e-6, atol=1e-6)
        np.testing.assert_allclose(gradient[row], expected[1], atol=1e-6)
    if alpha == 0:
        np.testing.assert_allclose(losses.cross_entropy(masked, LABELS), found, atol=1e-6)


def test_distillation_runs_over_the_classes_that_exist(logits):
    """As if their columns were not there, gradients included."""
    kept, labels = np.array([0, 2, 3, 9]), np.array([0, 2, 1, 3])
    teacher = 2 * np.asarray(jax.random.normal(jax.random.key(1), (4, 10)))
    masked, masked_teacher = np.full((2, 4, 10), -np.inf, np.float32)
    masked[:, kept], masked_teacher[:, kept] = np.asarray(logits)[:, kept], teacher[:, kept]
    original, control = kept[labels], 1.0
    both = lambda z, t, y: distilled(z, t, y, 0.7, 4.0) + losses.logit_matching(z, t)
    for of_teacher in (masked_teacher, teacher):
        terms = lambda z, t=of_teacher: distilled(z, t, original, 0.7, 4.0) + losses.logit_matching(z, t)
        expected, slope = jax.value_and_grad(lambda z: both(z, teacher[:, kept],
                                                            labels).sum())(jnp.asarray(logits)[:, kept])
        found, gradient = jax.value_and_grad(lambda z, terms=terms: terms(z).sum())(jnp.asarray(masked))
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        np.testing.assert_allclose(gradient[:, kept], slope, atol=1e-5)
        assert not np.delete(np.asarray(gradient), kept, axis=1).any()
    soft = losses.soft_targets(masked_teacher, original, 2.0, control)
    np.testing.assert_allclose(soft[:, kept], losses.soft_targets(teacher[:, kept], labels, 2.0, control), rtol=1e-5)
    np.testing.assert_allclose(np.sum(soft, axis=1), 1, rtol=1e-6)


def test_an_example_whose_label_does_not_exist_has_an_infinite_loss_and_no_gradient(logits):
    for masked in (logits.at[0, 0].set(-jnp.inf), logits.at[0].set(-jnp.inf)):
        for loss in (losses.cross_entropy, lambda z, y: losses.smoothed_cross_entropy(z, y, 0.1)):
            found, gradient = loss(masked, LABELS), jax.grad(lambda z, loss=loss: loss(z, LABELS).sum())(masked)
            assert np.isposinf(found[0]) and np.isfinite(found[1:]).all()
            assert np.isfinite(gradient).all() and not gradient[0].any()


def test_finite_logits_are_the_plain_formulas(logits):
    """`masked` decides about -inf alone, and without it -inf shows as the divergence that it is."""
    teacher = logits[::-1]
    for loss in (losses.cross_entropy, losses.logit_matching):
        second = teacher if loss is losses.logit_matching else LABELS
        np.testing.assert_allclose(loss(logits, second), loss(logits, second, masked=False), rtol=1e-6)
    for convention in losses.CONVENTIONS:
        of = lambda z, masked, convention=convention: losses.smoothed_cross_entropy(z, LABELS, 0.1, convention,
                                                                                    masked=masked)
        np.testing.assert_allclose(of(logits, True), of(logits, False), rtol=1e-6)
    assert not np.isfinite(of(logits.at[0, 4].set(-jnp.inf), False)[0])
    soft = [losses.soft_targets(logits, LABELS, 2.0, 1.0, masked=masked) for masked in (True, False)]
    np.testing.assert_allclose(soft[0], soft[1], rtol=1e-6)
    crossed = [losses.soft_cross_entropy(logits, soft[0], masked=masked) for masked in (True, False)]
    np.testing.assert_allclose(crossed[0], crossed[1], rtol=1e-6)


def test_a_target_on_a_class_that_does_not_exist_costs_infinitely_much():
    logits = jnp.array([[0.0, -jnp.inf], [0.0, -jnp.inf]])
    assert losses.soft_cross_entropy(logits, jnp.array([[1.0, 0.0], [0.9, 0.1]])).tolist() == [0.0, np.inf]


@pytest.mark.parametrize("dtype", INTEGERS)
def test_labels_of_every_integer_type(dtype):
    classes = 200 if np.dtype(dtype).itemsize > 1 else 100
    logits = np.asarray(jax.random.normal(jax.random.key(2), (7, classes)))
    labels = np.arange(7) * 13 % classes
    for given in [labels.astype(dtype), *([jnp.asarray(labels.astype(dtype))] if not dtype.startswith(">") else [])]:
        np.testing.assert_array_equal(losses.smooth_labels(given, classes, 0.1),
                                      losses.smooth_labels(labels, classes, 0.1))
        np.testing.assert_array_equal(losses.smoothed_cross_entropy(logits, given, 0.1),
                                      losses.smoothed_cross_entropy(logits, labels, 0.1))
        np.testing.assert_array_equal(distilled(logits, logits, given, 0.5, 2.0),
                                      distilled(logits, logits, labels, 0.5, 2.0))


def test_small_labels_of_many_classes():
    """300 is no number of int8 or uint8."""
    for dtype in (jnp.int8, jnp.uint8):
        found = losses.smooth_labels(jnp.array([3, 120], dtype), 300, 0.0)
        assert np.argmax(found, axis=1).tolist() == [3, 120] and np.isfinite(found).all()


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, ">f4", ">f8", np.float64, np.int16])
def test_logits_of_every_real_type(logits, dtype):
    given = np.asarray(logits).astype(dtype)
    native = given.astype(np.float32)
    np.testing.assert_array_equal(losses.smoothed_cross_entropy(given, LABELS, 0.1),
                                  losses.smoothed_cross_entropy(native, LABELS, 0.1))
    np.testing.assert_array_equal(losses.logit_matching(given, given[::-1]),
                                  losses.logit_matching(native, native[::-1]))


@pytest.mark.parametrize("label", [-1, -10, 10, 255, 2**31 - 1, 2**32, 2**32 + 3, -2**40])
def test_a_label_outside_the_classes_gives_nan(logits, label):
    labels = np.array([0, label, 2, 9], np.int64)
    for given in (labels, *([jnp.asarray(labels, jnp.int32)] if abs(label) < 2**31 else [])):
        for convention in losses.CONVENTIONS:
            for masked in (True, False):
                found = jax.jit(
                    lambda z, c=convention, m=masked, y=given: losses.smoothed_cross_entropy(z, y, 0.1, c, masked=m))(
                        logits)
                assert np.isnan(found).tolist() == [False, True, False, False]
            assert np.isnan(losses.smooth_labels(given, 10, 0.1,
                                                 convention)).any(axis=1).tolist() == [False, True, False, False]
        assert np.isnan(losses.cross_entropy(logits, given)).tolist() == [False, True, False, False]
        assert np.isnan(distilled(logits, logits, given, 1.0, 2.0)).tolist() == [False, True, False, False]


@pytest.mark.parametrize("convention", losses.CONVENTIONS)
@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_one_class_is_certain(convention, alpha):
    labels = jnp.zeros(3, jnp.int32)
    assert losses.smooth_labels(labels, 1, alpha, convention).tolist() == [[1.0]] * 3
    loss = lambda z, alpha: losses.smoothed_cross_entropy(z, labels, alpha, convention)
    logits = jnp.array([[1.0], [-5.0], [0.0]])
    assert jax.jit(loss)(logits, alpha).tolist() == [0.0] * 3
    assert jax.grad(lambda z: loss(z, alpha).sum())(logits).tolist() == [[0.0]] * 3
    assert losses.soft_targets(logits, labels, 2.0, 1.0).tolist() == [[1.0]] * 3


def test_the_largest_finite_logits_have_a_loss_at_no_smoothing():
    logits = jnp.array([[3e38, -3e38, 0.0]])
    assert losses.smoothed_cross_entropy(logits, jnp.array([0]), 0.0).tolist() == [0.0]


@pytest.mark.parametrize("label,uniform,off_target", [(0, 3e37, 4.5e37), (1, np.inf, np.inf), (2, 3e38, 3e38)])
def test_logits_farther_apart_than_float32_reaches_have_their_loss(label, uniform, off_target):
    """With label 1 it is 5.7e38, which float32 does not hold."""
    logits = np.array([[3e38, -3e38, 1]], np.float32)
    for convention, expected in (("uniform", uniform), ("off_target", off_target)):
        loss = losses.smoothed_cross_entropy(logits, np.array([label]), 0.1, convention)
        np.testing.assert_allclose(loss, [expected], rtol=1e-6)
    np.testing.assert_allclose(losses.soft_cross_entropy(logits, np.eye(3, dtype=np.float32)[[label]]),
                               losses.cross_entropy(logits, np.array([label])))


def test_smoothed_losses_are_to_the_bit_those_without_small_units(logits):
    plain = jax.nn.logsumexp(centred := logits - logits[:, :1],
                             axis=-1) - 0.1 / logits.shape[-1] * jnp.sum(centred, axis=-1)
    np.testing.assert_array_equal(losses.smoothed_cross_entropy(logits, np.zeros(len(logits), int), 0.1), plain)


@pytest.mark.parametrize("name,more", [("cross_entropy", {}), ("cross_entropy", {"masked": False}),
                                       ("smoothed_cross_entropy", {"alpha": 0.1}),
                                       ("soft_targets", {"temperature": 2.0})])
def test_labels_of_another_shape_and_masked_arrays_are_refused_by_name(name, more, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the tests' own check of shapes
    logits = np.zeros((3, 4), np.float32)
    loss = lambda logits, labels: getattr(losses, name)(logits, labels, **more)
    for labels in (np.array(1), 1, np.zeros(2, int), np.zeros((1, 3), int), np.zeros(1, int)):
        with pytest.raises(ValueError, match=r"^labels have shape .*, and \(3,\) goes with logits of shape \(3, 4\)$"):
            loss(logits, labels)
    with pytest.raises(ValueError, match="labels is a masked array"):
        loss(logits, np.ma.MaskedArray([0, 1, 2]))
    with pytest.raises(ValueError, match="logits or targets is a masked array"):
        loss(np.ma.MaskedArray(logits), np.zeros(3, int))


def test_other_types_are_refused(logits):
    for labels in (LABELS.astype(jnp.float32), LABELS > 2):
        with pytest.raises(TypeError):
            inspect.unwrap(losses.smooth_labels)(labels, 10, 0.1)
    with pytest.raises(TypeError):
        inspect.unwrap(losses.cross_entropy)(np.asarray(logits, complex), LABELS)


@pytest.mark.parametrize("values, terms", [
    ({}, ()), ({"alpha": 0.0, "learning_rate": 0.1, "seed": 3, "arm": "plain"}, ()),
    ({"alpha": 0.1}, ("label_smoothing",)),
    ({"alpha": 0.0, "alpha_end": 0.1}, ("label_smoothing",)),
    ({"alpha": 0.1, "focal": 2.0}, ("label_smoothing", "focal")),
    ({"focal": 0.0, "focal_low": None}, ()), ({"focal": 0.0, "focal_low": 5.0}, ("focal",)),
    ({"margin_penalty": 0.0, "margin": 2.0, "acls": 0.0, "acls_margin": 10.0}, ()),
    ({"margin_penalty": 0.1, "margin": 10.0}, ("margin_penalty",)), ({"poly1": -0.5, "poly1_end": 0.0}, ("poly1",)),
    ({"temperature": None, "beta": 0.0, "control": False, "teacher": None}, ()),
    ({"temperature": 4.0, "beta": 0.0, "control": True}, ()),
    ({"temperature": 1.0, "beta": 1.0, "alpha": 0.0}, ("distillation",)),
])
def test_terms_that_are_on(values, terms):
    assert losses.active(values) == terms
