"""The end of a training, on courses whose end is known."""
import numpy as np
import pytest

from ls_jax.studies import registry
from ls_jax.studies.common import course, records

STEPS = np.arange(5, 101, 5)


def test_a_line_through_the_last_fifth_alone():
    """Whatever came before it; noise in single rows is averaged."""
    values = np.where(STEPS < 80, 99.0, 3.0 - 0.01 * (STEPS - 80))
    end = course.last_fifth(STEPS, values)
    assert end == (pytest.approx(2.8), pytest.approx(-0.2)) and end.fall == pytest.approx(0.2 / 3.0)
    noise = 0.1 * np.random.default_rng(0).standard_normal((500, len(STEPS)))
    noisy = np.array([course.last_fifth(STEPS, values + each) for each in noise])
    np.testing.assert_allclose(noisy.mean(axis=0), end, atol=0.02)
    assert noisy[:, 1].std() < 0.1 * np.sqrt(2)  # that of the difference of two rows


def test_few_rows():
    assert course.last_fifth([50, 100], [1.0, 2.0]) == (pytest.approx(2.0), pytest.approx(0.4))
    assert course.last_fifth([90, 100], [1.0, 2.0]).change == pytest.approx(2.0)
    assert course.last_fifth([100], [1.0]) is None and course.last_fifth([50, 100], [1.0, np.nan]) is None


ROWS = [{"alpha": alpha, "seed": seed} for alpha in (0.0, 0.1) for seed in (0, 1)]


def made_up(loss, nll):
    """Rows in which the smoothed networks' loss and held-out NLL fall by these shares over the last fifth."""
    falling = lambda share, step, row: 1 + (row["alpha"] > 0) * (share / (1 - share)) * (100 - step) / 20
    return [{"step": int(step), "member": member, **row, "split": split, "loss": falling(loss, step, row),
             "nll": falling(nll, step, row)} for step in STEPS for member, row in enumerate(ROWS)
            for split in ("train", "test")]


@pytest.mark.parametrize("loss, nll, expected", [(0.03, 0.021, 1.0), (0.03, 0.019, 0.0), (0.019, 0.03, 0.0)])
def test_still_training_where_both_still_fall(loss, nll, expected):
    hard, smoothed = course.still_training(made_up(loss, nll), ROWS)
    assert (hard.hyper, hard.values) == ({"alpha": 0.0}, [0.0, 0.0]) and hard.study == "training"
    assert smoothed.values == [expected] * 2 and smoothed.extra["nll_falls"] == pytest.approx([nll] * 2)
    taught = [{**row, "teacher": "net"} for row in ROWS]
    assert course.still_training(made_up(loss, nll), taught) == course.still_training([], ROWS) == []
    assert [record.n for record in course.still_training(made_up(loss, nll), ROWS, frozenset({0}))] == [1, 2]


def test_it_stands_beside_the_verdict():
    results = records.summarize("accuracy", "accuracy", "test", ROWS, [0.5, 0.501, 0.6, 0.601])
    told = registry.lines(results + course.still_training(made_up(0.05, 0.03), ROWS))
    assert told == [f"{line}; still training: α = 0.1 (over the last fifth of the steps its training loss fell by 5 %, "
                    "its held-out NLL by 3 %)" for line in registry.lines(results)]
    assert registry.lines(results + course.still_training(made_up(0.01, 0.03), ROWS)) == registry.lines(results)


def test_what_was_zero_has_not_fallen():
    """As a loss whose weight underflows."""
    assert course.last_fifth([0, 8, 10], [0.0, 0.0, 0.0]).fall == 0
