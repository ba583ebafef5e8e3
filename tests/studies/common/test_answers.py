"""The sentences of the answer: what their words, numbers and verdicts are, for made-up networks."""
import numpy as np
import pytest

from ls_jax.studies.accuracy import answer as accuracy
from ls_jax.studies.calibration import answer as calibration
from ls_jax.studies.common import answers, records
from ls_jax.studies.distillation import answer as distillation


def made_up(values, quantity="accuracy", study="accuracy", split="test", **extra):
    """Records of `values`, {alpha: a value for each seed}."""
    rows = [{"alpha": alpha, "seed": seed} for alpha, of in values.items() for seed in range(len(of))]
    return records.summarize(study, quantity, split, rows, [value for of in values.values() for value in of], **extra)


def around(mean, spread=0.001):
    """Five values with this mean."""
    return mean + spread * np.array([-1.0, -0.5, 0.0, 0.5, 1.0])[[2, 0, 4, 1, 3]]


def said(plain, smoothed, measure=accuracy.ACCURACY):
    """The sentence on five networks without and five with smoothing; their differences are `smoothed` - `plain`."""
    found = made_up({0.0: np.full(5, plain), 0.1: smoothed}, measure.quantity, measure.study)
    return answers.compared(found, "test", measure)


def test_it_helped():
    sentence = said(0.90, around(0.92))
    assert sentence.text == ("Accuracy: smoothing helped, by 2.00 points [1.90, 2.10] (90.00 % without, 92.00 % with "
                             "smoothing).")
    assert (sentence.verdict, sentence.alpha) == ("helped", 0.1) and sentence.value == pytest.approx(0.02)
    assert sentence.interval == pytest.approx((0.019018, 0.020982), abs=1e-6)  # 2.7764 × 0.00079057 / √5


def test_it_harmed():
    assert said(0.90, around(0.88)).verdict == "harmed"
    likelihood = said(0.30, around(0.35), accuracy.LIKELIHOOD)  # lower is better
    assert likelihood.verdict == "harmed" and "harmed it, by 0.0500 nats [0.0490, 0.0510]" in likelihood.text
    assert said(0.30, around(0.25), accuracy.LIKELIHOOD).verdict == "helped"


@pytest.mark.parametrize("spread, verdict", [(0.008, "no difference larger than 0.8 points"),
                                             (0.0101, "no difference larger than 1.0 points"),
                                             (0.0103, "cannot tell: ")])
def test_no_difference_larger_than_a_tenth_of_the_error(spread, verdict):
    """The error is 10 %, so a difference within 1 point is small."""
    assert said(0.90, around(0.90, spread)).verdict.startswith(verdict)


def test_it_cannot_tell_and_says_what_would():
    sentence = said(0.90, around(0.91, 0.03))
    assert sentence.kind == answers.UNKNOWN
    assert sentence.text.startswith("Accuracy: cannot tell. The difference is +1.0 [−1.9, +3.9] points (")
    assert sentence.text.endswith("more seeds would decide.") and int(sentence.verdict.split()[3]) > 10
    assert answers.compared(made_up({0.0: [0.9], 0.1: [0.95]}), "test", accuracy.ACCURACY).verdict == (
        "cannot tell: an interval needs two seeds or more")
    assert answers.compared(made_up({0.1: around(0.9)}), "test", accuracy.ACCURACY) is None


def test_the_smoothing_is_the_one_nearest_to_the_papers():
    found = made_up({0.0: np.full(5, 0.9), 0.05: around(0.95), 0.2: around(0.85), 0.5: around(0.99)})
    assert answers.compared(found, "test", accuracy.ACCURACY).alpha == 0.05


@pytest.mark.parametrize("half, places", [(0.31, 2), (0.5, 1), (0.0066, 3), (0.0031, 4), (12, 0), (2.5, 1), (0, 2),
                                          (1e-9, 4)])
def test_numbers_are_rounded_to_their_spread(half, places):
    assert answers.decimals(half) == places


def test_the_choice_of_alpha_carries_its_luck():
    """Seed by seed, the α that is best on validation; α = 0 may be chosen."""
    validation = {0.0: [0.9, 0.9, 0.9], 0.1: [0.95, 0.8, 0.95], 0.2: [0.91, 0.85, 0.96]}
    test = {0.0: [0.80, 0.81, 0.82], 0.1: [0.83, 0.99, 0.99], 0.2: [0.99, 0.99, 0.86]}
    found = made_up(validation, split="validation") + made_up(test)
    sentence = accuracy.choice(found, "test")  # it chooses 0.1, 0 and 0.2: +3, 0 and +4 points
    assert sentence.value == pytest.approx(0.07 / 3)
    assert "it is 0.1 (1 of 3 seeds), 0 (1), 0.2 (1); whether that gains" in sentence.text
    assert accuracy.choice(made_up(test), "test") is None
    two = {alpha: validation[alpha] for alpha in (0.0, 0.1)}
    assert accuracy.choice(made_up(two, split="validation") + made_up(two), "test") is None


def test_calibration_is_judged_by_the_debiased_error_and_shows_the_plain_one():
    found = made_up({0.0: np.full(5, 0.010), 0.1: around(0.001, 1e-4)}, "debiased squared error", "calibration")
    plain = made_up({0.0: np.full(5, 0.100), 0.1: around(0.030, 1e-3)}, "ece", "calibration")
    sentence, = calibration.answer(found + plain, "test")
    assert sentence.text == ("Calibration: smoothing helped, by 0.0700 [0.0690, 0.0710] (ECE 0.1000 without, 0.0300 "
                             "with smoothing).")
    undecided = made_up({0.0: np.full(5, 0.100), 0.1: around(0.099, 0.01)}, "ece", "calibration")
    sentence, = calibration.answer(found + undecided, "test")
    assert sentence.verdict == "helped" and "helped a little, by the debiased squared error (" in sentence.text


def test_distillation_compares_students_at_equal_temperature():
    rows = [{"student": "taught", "teacher": "net", "teacher_alpha": alpha, "temperature": temperature, "beta": 1.0,
             "control": 0.0, "alpha": 0.0, "seed": seed}
            for alpha in (0.0, 0.1) for temperature in (1.0, 4.0) for seed in range(5)]
    values = [0.9 - 0.05 * (row["teacher_alpha"] > 0) * (row["temperature"] > 1) + 0.001 * (row["seed"] % 3)
              * (row["teacher_alpha"] > 0) for row in rows]
    found = records.summarize("accuracy", "accuracy", "test", rows, values)
    by_about = {sentence.about: sentence for sentence in distillation.answer(found, "test")}
    assert by_about["distillation at T = 4"].verdict == "harmed"
    assert by_about["distillation at T = 1"].verdict.startswith("no difference larger than 0.19 points")
