"""The loss of distillation: against PyTorch, its limits, and what it must leave alone."""
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ls_jax import losses
from tests.distilled import distilled

LABELS = jnp.array([0, 3, 2, 9])


@pytest.fixture
def logits():
    return 3 * jax.random.normal(jax.random.key(0), (4, 10)), 2 * jax.random.normal(jax.random.key(1), (4, 10))


@pytest.mark.parametrize("beta, teacher_temperature, temperature",
                         [(1.0, 1.0, 1.0), (0.7, 4.0, 1.0), (0.3, 2.0, 2.0), (0.0, 4.0, 1.0)])
def test_gradients_equal_an_independent_form_in_pytorch(logits, beta, teacher_temperature, temperature):
    torch = pytest.importorskip("torch", reason="compares with PyTorch: pip install -e '.[peers]'")
    functional = torch.nn.functional
    student, teacher = (torch.tensor(np.asarray(z, np.float64)) for z in logits)
    student.requires_grad_()
    labels = torch.tensor(np.asarray(LABELS), dtype=torch.long)
    # KL is the cross-entropy less the teacher's entropy, which has no gradient; "batchmean" sums over classes.
    divergence = functional.kl_div(functional.log_softmax(student / temperature, -1),
                                   functional.softmax(teacher / teacher_temperature, -1),
                                   reduction="batchmean")
    ((1 - beta) * functional.cross_entropy(student, labels) + beta * divergence).backward()
    gradient = jax.grad(lambda z: distilled(z, logits[1], LABELS, beta, teacher_temperature,
                                            temperature).mean())(logits[0])
    np.testing.assert_allclose(gradient, student.grad.numpy(), atol=1e-6)


def test_matching_gradient_equals_pytorchs(logits):
    torch = pytest.importorskip("torch", reason="compares with PyTorch: pip install -e '.[peers]'")
    student, teacher = (torch.tensor(np.asarray(z, np.float64)) for z in logits)
    student.requires_grad_()
    (0.5 * torch.nn.functional.mse_loss(student, teacher, reduction="sum")).backward()
    gradient = jax.grad(lambda z: losses.logit_matching(z, logits[1]).sum())(logits[0])
    np.testing.assert_allclose(gradient, student.grad.numpy(), atol=1e-5)


def test_at_high_temperature_it_matches_logits(logits):
    """K T² times the gradient tends to that of ½||z - zᵗ||² where both have mean zero (Hinton et al. 2015, §2.1)."""
    student, teacher = (z - z.mean(axis=-1, keepdims=True) for z in logits)
    limit = jax.grad(lambda z: losses.logit_matching(z, teacher).sum())(student)
    errors = []
    for temperature in (10.0, 30.0, 90.0):
        soft = jax.grad(lambda z, t=temperature: distilled(z, teacher, LABELS, 1.0, t, t).sum())(student)
        errors.append(np.abs(10 * temperature**2 * soft - limit).max() / np.abs(limit).max())
    assert errors[0] > errors[1] > errors[2] and errors[2] < 0.04


def test_terms_are_sums_over_classes():
    """The mean over classes, which some libraries' defaults take, would be K times smaller."""
    for classes in (10, 1000):
        zeros, ones = jnp.zeros((2, classes)), jnp.ones((2, classes))
        np.testing.assert_allclose(losses.soft_cross_entropy(zeros, ones / classes), np.log(classes), rtol=1e-6)
        np.testing.assert_allclose(losses.logit_matching(ones, zeros), classes / 2, rtol=1e-6)


def test_a_student_distilled_from_itself_stays(logits):
    gradient = jax.grad(lambda z: distilled(z, logits[0], LABELS, 1.0, 1.0).sum())(logits[0])
    np.testing.assert_allclose(gradient, 0, atol=1e-6)
    assert np.abs(jax.grad(lambda z: distilled(z, logits[0], LABELS, 1.0, 2.0).sum())(logits[0])).max() > 0.01


def test_control_keeps_the_labels_probability_and_no_dark_knowledge(logits):
    soft, control = (losses.soft_targets(logits[1], LABELS, 2.0, each) for each in (0.0, 1.0))
    np.testing.assert_allclose(soft, jax.nn.softmax(logits[1] / 2), rtol=1e-6)
    for target, other, label in zip(soft, control, LABELS):
        wrong = np.delete(other, label)
        np.testing.assert_allclose(other[label], target[label], rtol=1e-6)
        np.testing.assert_allclose(wrong, (1 - target[label]) / 9, rtol=1e-5)
        assert np.ptp(np.delete(target, label)) > 10 * np.ptp(wrong)


def test_a_teacher_that_gives_the_smoothed_targets_is_smoothing(logits):
    teacher = jnp.log(losses.smooth_labels(LABELS, 10, 0.3))
    expected = optax.softmax_cross_entropy(logits[0], optax.smooth_labels(jax.nn.one_hot(LABELS, 10), 0.3))
    np.testing.assert_allclose(distilled(logits[0], teacher, LABELS, 1.0, 1.0), expected, rtol=1e-5)
