"""The loss of a student, as the step computes it."""
from ls_jax import losses


def distilled(logits, teacher_logits, labels, beta, teacher_temperature, temperature=1.0):
    """(1-β) H(y, p) + β H(pᵗ(Tᵗ), p(T)) per example."""
    examples = losses.Examples(logits, labels, teacher_logits, losses.Settings(student_temperature=temperature))
    return losses.loss(examples, {"beta": beta, "temperature": teacher_temperature})
