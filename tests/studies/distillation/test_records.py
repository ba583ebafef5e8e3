"""Measures of distillation: closed forms and limits; the students' grid; the records, claims and figures made of
both."""
import numpy as np
import pytest

from ls_jax import config as configs
from ls_jax.errors import UserError
from ls_jax.studies import distillation
from ls_jax.studies import registry as paper_claims
from ls_jax.studies.accuracy import records as accuracy_records
from ls_jax.studies.common import records
from ls_jax.studies.common.crossed import Sample
from ls_jax.studies.distillation import conditions
from ls_jax.studies.distillation import plots as distillation_plots
from ls_jax.studies.distillation import records as distillation_records
from ls_jax.studies.distillation import tables as distillation_tables
from ls_jax.studies.distillation.section import section
from ls_jax.training import students, sweep
from tests.shown import shown

CLASSES = 10


def sample(examples=500, scale=6.0, seed=0):
    """Logits that are right on every example, and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, examples)
    logits = rng.normal(size=(examples, CLASSES))
    logits[np.arange(examples), labels] = logits.max(axis=1) + scale * rng.random(examples)
    return logits, labels


def smoothed(labels, alpha):
    return np.log(np.where(np.eye(CLASSES, dtype=bool)[labels], 1 - alpha + alpha / CLASSES, alpha / CLASSES))


@pytest.mark.parametrize("alpha", [1e-9, 0.05, 0.3, 0.75])
def test_a_teacher_that_gives_the_smoothed_target_has_gamma_alpha(alpha):
    labels = sample()[1]
    assert distillation.equivalent_smoothing(smoothed(labels, alpha), labels) == pytest.approx(alpha, rel=1e-12)


def test_gamma_is_the_written_sum():
    logits, labels = sample(scale=1.0)
    p = np.exp(logits / 3) / np.exp(logits / 3).sum(axis=1, keepdims=True)
    wrong = ~np.eye(CLASSES, dtype=bool)[labels]
    assert distillation.equivalent_smoothing(logits, labels, 3.0) == pytest.approx(
        np.mean((p * wrong).sum(axis=1)) * 10 / 9, rel=1e-12)


def test_gamma_tends_to_one_and_rises_with_temperature_for_a_teacher_that_is_right():
    logits, labels = sample()
    gammas = [distillation.equivalent_smoothing(logits, labels, t) for t in (0.1, 0.5, 1, 2, 4, 8, 16, 1e6)]
    assert np.all(np.diff(gammas) > 0) and gammas[-1] == pytest.approx(1, abs=1e-5)
    wrong = np.roll(logits, 1, axis=1)  # for any teacher the limit is 1
    assert distillation.equivalent_smoothing(wrong, labels, 1e6) == pytest.approx(1, abs=1e-5)
    assert distillation.equivalent_smoothing(1e3 * wrong, labels) == pytest.approx(10 / 9, rel=1e-3)


def test_gamma_keeps_its_precision_at_saturated_logits():
    logits = np.full((100, CLASSES), -40.0, np.float32)
    logits[:, 0] = 0
    expected = 9 * np.exp(-40.0) * 10 / 9
    assert distillation.equivalent_smoothing(logits, np.zeros(100, int)) == pytest.approx(expected, rel=1e-9)


def test_measures_of_members_at_once():
    logits, labels = sample()
    both = distillation.equivalent_smoothing(np.stack([logits, 2 * logits]), labels)
    assert both.shape == (2,) and both[1] == distillation.equivalent_smoothing(2 * logits, labels)
    with pytest.raises(ValueError, match="temperature=0 must be above 0"):
        distillation.equivalent_smoothing(logits, labels, 0)


def test_stability_is_the_written_formula_and_one_for_constant_outputs():
    logits, labels = sample(scale=1.0)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    by_hand = 1 - np.mean(
        [np.mean(np.sum((p[labels == c] - p[labels == c].mean(axis=0))**2, axis=1)) for c in range(CLASSES)])
    assert distillation.stability(logits, labels) == pytest.approx(by_hand, rel=1e-12)
    assert distillation.stability(smoothed(labels, 0.1), labels) == pytest.approx(1, abs=1e-12)


def test_diffusion_sees_similar_classes_draw_near_and_nothing_else():
    rng = np.random.default_rng(0)
    centroids, labels = rng.normal(size=(6, 40)), np.arange(600) % 6
    features = centroids[labels] + 0.1 * rng.normal(size=(600, 40))
    logits = np.eye(6)[labels] * 5 + 2 * np.eye(6)[labels ^ 1] + 0.1 * rng.normal(
        size=(600, 6))  # 0-1, 2-3 and 4-5 are alike
    similar = distillation.similar_classes(logits, labels)
    np.testing.assert_array_equal(similar, np.eye(6, dtype=bool)[np.arange(6) ^ 1])
    nearer = centroids + 0.3 * (centroids[np.arange(6) ^ 1] - centroids)
    drawn = nearer[labels] + 0.1 * rng.normal(size=(600, 40))
    assert distillation.diffusion(drawn, features, labels, similar) > 0.3
    back = distillation.diffusion(features, drawn, labels, similar)
    assert back == pytest.approx(-distillation.diffusion(drawn, features, labels, similar))
    assert distillation.diffusion(7 * features, features, labels, similar) == pytest.approx(0, abs=1e-12)
    with np.errstate(all="raise"):  # classes that have become one
        assert np.isnan(distillation.diffusion(0 * features, features, labels, similar))


@pytest.fixture
def config(tiny):
    teacher = tiny.copy_and_resolve_references()
    teacher.sweep.seed = (0, 1, 2)
    teacher.sweep.alpha = (0.0, 0.1, 0.6)
    config = teacher.copy_and_resolve_references()
    config.sweep.alpha = (0.0,)
    config.distill = configs.distillation(
        dict(net=teacher),
        dict(baseline=dict(alpha=(0.0, 0.6)), grid=dict(teacher="net", teacher_alpha=(0.0, 0.1, 0.6),
                                                        temperature=(1.0, 4.0)),
             control=dict(teacher="net", temperature=(4.0,), control=(True,))))
    return config


def test_the_grid_pairs_students_and_teachers_by_seed(config):
    rows, roster, hyper = sweep.members(config), students.roster(config), sweep.grid(config)
    assert len(rows) == 3 * (2 + 6 + 1) and len(roster) == 9 and sweep.members(config) == rows
    for m, row in enumerate(rows):
        place = hyper["teacher"][m]
        if row["teacher"] is None:
            assert place == -1 and hyper["beta"][m] == 0 and row["temperature"] is None
        else:
            assert roster[place] == ("net", row["teacher_alpha"],
                                     row["seed"]) and hyper["temperature"][m] == row["temperature"]
    assert [row["seed"] for row in rows[:3]] == [0, 1, 2] and {row["student"]
                                                               for row in rows if row["control"]} == {"control"}
    plain = config.copy_and_resolve_references()
    plain.distill = None
    assert set(sweep.members(plain)[0]) == {"alpha", "seed", "learning_rate", "weight_decay"
                                            } and "teacher" not in sweep.grid(plain)


@pytest.mark.parametrize("change, message", [
    (dict(loss="hint"), "config.distill.loss='hint' is unknown; choose from soft, logits"),
    (dict(student_temperature=0.0), "must be above 0, or None"),
    (dict(students={}), "students is empty"),
    (dict(students=dict(a=dict(techer="net"))), r"students.a has no field 'techer' \(did you mean 'teacher'\?\)"),
    (dict(students=dict(a=dict(teacher="nte"))), "students.a.teacher='nte' is not among config.distill.teachers: net"),
    (dict(students=dict(a=dict(temperature=(2.0,)))), "students.a has temperature but no teacher: name one of net"),
    (dict(students=dict(a=dict(teacher="net", temperature=2.0))),
     r"temperature=2.0 must be a tuple of different values"),
    (dict(students=dict(a=dict(teacher="net", temperature=(0.0,)))),
     r"temperature holds 0.0: .* must lie in \(0, inf\)"),
    (dict(students=dict(a=dict(teacher="net", beta=(1.5,)))),
     r"beta holds 1.5: the weight of the teacher.s term must lie in \[0, 1\]"),
    (dict(loss="logits"), "temperature or a control, which config.distill.loss='logits' makes no use of"),
])
def test_a_mistake_is_named_in_one_line(config, change, message):
    fields = dict(teachers=dict(config.distill.teachers), students=config.distill.students.to_dict()) | change
    config.distill = configs.distillation(**fields)
    with pytest.raises(UserError, match=message) as caught:
        configs.validate(config)
    assert "\n" not in str(caught.value)


def test_a_teachers_mistake_names_the_teacher(config):
    config.distill.teachers.net.optimizer.schedule = "cosine"
    with pytest.raises(UserError, match="teacher 'net': config.optimizer.schedule='cosine' is unknown"):
        configs.validate(config)


def test_teachers_follow_their_students_overrides(config):
    for student in (config, configs.default()):  # fields that are plain, and references
        teacher, other = configs.default(), configs.default()
        configs.follow(student, teacher, other)
        student.data.dir, student.sweep.seed, student.data.holdout = "somewhere", (7,), 3
        for each in (teacher, other):
            assert (each.data.dir, each.sweep.seed, each.data.holdout) == ("somewhere", (7,), 3)


def test_a_resumed_distillation_may_change_what_a_plain_run_may(config):
    before = configs.plain(config)
    config.distill.teachers.net.log.every, config.distill.teachers.net.mesh.member = 7, 2
    assert configs.differences(before, configs.plain(config)) == []
    config.distill.teachers.net.steps = 9
    assert configs.differences(before, configs.plain(config)) == ["distill.teachers.net.steps: 8 -> 9"]
    plain = configs.plain(configs.default())
    older = {name: value for name, value in plain.items() if name != "distill"}
    assert configs.differences(older, plain) == []


def made_up(config, gain, spread=0.0):
    """Records of a run in which a student's accuracy is `gain(row)` and its teacher's targets are smooth as its α and T
    say. With `spread`, the accuracies are known by example, and all students find the same examples hard."""
    hard = np.random.default_rng(1).permutation(np.linspace(-1, 1, 500))
    rng = np.random.default_rng(0)
    rows = sweep.members(config)
    measured = [("test", row, {"accuracy": gain(row) + 1e-3 * rng.normal(), "nll": 1.0, "examples": 500})
                for row in rows]
    results = accuracy_records.run(measured, [
        {"accuracy": Sample(values["accuracy"], values=values["accuracy"] + spread * hard)}
        for _, _, values in measured] if spread else None)
    taught = []
    for teacher in students.roster(config):
        logits, labels = sample(seed=teacher.seed)
        for split in ("train", "test"):
            taught.append(students.Taught(teacher, split, logits * (1 - teacher.alpha), labels))
    features = rng.normal(size=(300, 8)) + 5 * rng.normal(size=(CLASSES, 8))[np.arange(300) % CLASSES]
    return results + distillation_records.run(taught, rows, results, lambda member, split: (
        features * (1 + 0.1 * rng.normal(size=8)), np.arange(300) % CLASSES))


def verdicts(results, name):
    return {(finding.alpha, finding.where.get("temperature")): finding.verdict
            for finding in paper_claims.check(results)[name]}


@pytest.mark.parametrize("sign", [1, -1])
def test_claims_hold_and_fail_on_made_up_students(config, sign):
    def gain(row):
        if row["teacher"] is None:
            return 0.5 - sign * 0.05 * (row["alpha"] > 0)
        if row["control"]:
            return 0.6 - sign * 0.1
        return 0.6 + sign * (0.1 * (row["temperature"] > 1) - 0.2 * row["teacher_alpha"])

    results = made_up(config, gain)
    yes, no = ("holds", "fails")[::sign]
    assert verdicts(results, "smoothing degrades the student") == {(0.6, None): yes}
    assert verdicts(results, "dark knowledge helps") == {(0.0, 4.0): yes}
    assert verdicts(results, "counter-claim: smoothed teachers hurt at T > 1") == {(0.1, 4.0): yes}
    assert verdicts(results, "counter-claim: smoothed teachers distil better at T = 1") == {(0.1, 1.0): no}
    equal = verdicts(results,
                     "smoothed teachers distil worse")  # γ between those of the unsmoothed teacher at T = 1 and 4
    assert equal and set(equal.values()) == {yes}
    grid = [record for record in results if record.quantity == "accuracy against the hard teacher"]
    assert [(r.hyper["teacher_alpha"], r.hyper["temperature"]) for r in grid] == [(0.1, 1.0), (0.1, 4.0), (0.6, 1.0),
                                                                                  (0.6, 4.0)]
    np.testing.assert_allclose([r.mean for r in grid], [-sign * 0.02, -sign * 0.02, -sign * 0.12, -sign * 0.12],
                               atol=0.003)


def test_students_that_differ_otherwise_are_kept_apart(config):
    """Here by β and their own α; those without a teacher have none, and stand beside all."""
    config.distill.students.grid.beta, config.distill.students.grid.alpha = (0.5, 1.0), (0.0, 0.1)
    gain = lambda row: 0.5 if row["teacher"] is None else 0.6 + 0.1 * row["beta"] - 0.2 * row["teacher_alpha"
                                                                                              ] - 0.3 * row["alpha"]
    results = made_up(config, gain)
    families, wheres = conditions.families(results), [(alpha, beta) for beta in (0.5, 1.0) for alpha in (0.0, 0.1)]
    kind = lambda settings: (settings["alpha"], settings["beta"])
    assert [kind(where) for where, _ in families] == wheres
    of = [conditions.students(each, "test") for _, each in families]
    assert all(len(conditions.baseline(each)) == 2 for each in of)
    means = [np.mean(list(conditions.distilled(each)[0.1, 4.0].values())) for each in of]
    np.testing.assert_allclose(means, [0.63, 0.60, 0.68, 0.65], atol=0.002)
    against = records.select(results, quantity="accuracy against the hard teacher", teacher_alpha=0.6, temperature=4.0)
    assert [kind(record.hyper) for record in against] == wheres and {record.kind
                                                                     for record in against} == {"difference"}
    found = paper_claims.check(results)["counter-claim: smoothed teachers hurt at T > 1"]
    assert [kind(finding.where)
            for finding in found] == wheres and {finding.baseline["teacher_alpha"] for finding in found} == {0.0}
    moved = records.select(results, quantity="diffusion", teacher_alpha=0.1)
    assert sorted(kind(record.hyper) for record in moved) == sorted(wheres)
    assert len(paper_claims.check(results)["counter-claim: smoothed teachers diffuse their students"]) == 4
    names = [row[0] for row in distillation_tables.errors(results, "test", mnist=False)[2:]]
    assert "student of the teacher with α = 0.1, T = 4, student's α = 0, β = 0.5" in names and len(names) == len(
        {*names})
    assert len(distillation_plots.figure_5(results, "test").axes) == 4 and len(
        distillation_plots.grid(results, "test").axes) == 8
    assert len(
        distillation_tables.measures(results)[2:]) == 3 + 3 * 4  # at T = 4 each of four kinds of students has moved


def test_students_are_compared_for_new_seeds_and_new_examples(config, tmp_path):
    """All students find the same examples hard: that widens each one's interval, and cancels in differences."""
    gain = lambda row: 0.5 + 0.1 * (row["teacher"] is not None) - 0.1 * (row["teacher_alpha"] or 0)
    results = made_up(config, gain, spread=0.3)
    records.write(tmp_path, results)
    results = records.read(tmp_path)
    for record in records.select(results, study="accuracy", quantity="accuracy", kind="value"):
        assert record.covers == records.BOTH and np.shape(record.deleted) == (3, 20)
        assert record.interval[1] - record.interval[0] > 2 * 0.3 / np.sqrt(3 * 500)
    found = paper_claims.check(results)
    for name in ("counter-claim: smoothed teachers hurt at T > 1", "smoothed teachers distil worse",
                 "counter-claim: smoothed teachers distil better at T = 1", "dark knowledge helps"):
        assert found[name] and {finding.covers for finding in found[name]} == {records.BOTH}
        assert all(finding.interval[1] - finding.interval[0] < 0.01 for finding in found[name])
    assert {each.covers for each in records.select(results, quantity="accuracy against the hard teacher")} == {
        records.BOTH}
    assert {each.covers for each in records.select(results, quantity="teacher accuracy")} == {records.BOTH}


def test_interpolation_stays_on_the_curve():
    points = {"a": (0.4, Sample(0.8, deleted=np.array([0.7, 0.9]))), "b": (0.1, Sample(0.5, deleted=np.full(2, 0.5)))}
    found = conditions.interpolated(0.2, points)
    assert found.value == pytest.approx(0.6) and found.deleted == pytest.approx([0.5 + 0.2 / 3, 0.5 + 0.4 / 3])
    assert conditions.interpolated(0.4, points).value == pytest.approx(0.8)
    assert conditions.interpolated(0.05, points) is None and conditions.interpolated(0.5, points) is None


def test_figure_5_has_the_papers_curves(config):
    results = made_up(config, lambda row: 0.5)
    drawn = distillation_plots.curves(results, "test")
    assert {name: len(points) for name, points in drawn.items()} == {
        "teacher": 3, "baseline student": 2, "student of the unsmoothed teacher, T rising": 2,
        "student of smoothed teachers, T = 1": 3, "unsmoothed teacher, no dark knowledge": 1
    }
    assert [gamma for gamma, _ in drawn["teacher"]] == [0.0, 0.1, 0.6] and all(len(v) == 3 for _, v in drawn["teacher"])
    figure = distillation_plots.figure_5(results, "test")
    assert len(figure.axes[0].containers) == 5
    assert len(distillation_plots.grid(results, "test").axes) == 2


def metrics(rows, final, rise, steps=(20, 40, 60, 80, 90, 100)):
    """Rows of metrics.jsonl in which a student's agreement ends at final(row), having risen by rise(row) since step
    80."""
    return [{"step": step, "member": member, "split": "train", "loss": 1.0,
             **({"agreement": final(row) - rise(row) * (100 - step) / 20} if row["teacher"] else {})}
            for step in steps for member, row in enumerate(rows)]


def with_agreement(config, final, rise):
    return made_up(config, lambda row: 0.5) + distillation_records.agreement(
        metrics(sweep.members(config), final, rise), sweep.members(config))


def test_agreement_is_read_from_the_rows_of_metrics(config):
    found = distillation_records.agreement(metrics(sweep.members(config), lambda row: 0.9 + 0.01 * row["seed"],
                                                   lambda row: 0.03), sweep.members(config))
    assert len(found) == 2 * 7 and {record.split for record in found} == {"train"}  # 6 on the grid and a control
    for record in found:
        expected = [0.9, 0.91, 0.92] if record.quantity == "agreement" else [0.03] * 3
        np.testing.assert_allclose(record.values, expected, rtol=1e-9)
    assert distillation_records.agreement([{"step": 1, "member": 0, "split": "train", "loss": 1.0}], [{}]) == []


@pytest.mark.parametrize("lower, rise, judged", [(0.021, 0.006, False), (0.019, 0.006, True), (0.021, 0.004, True)])
def test_a_student_that_has_not_trained_decides_nothing(config, lower, rise, judged):
    """At T = 4, its agreement is `lower` below that at T = 1 and has risen by `rise` in the last fifth."""
    hot = lambda row: (row["temperature"] or 0) > 1 and row["teacher_alpha"] == 0.1
    results = with_agreement(config, lambda row: 0.95 - lower * hot(row), lambda row: rise * hot(row))
    name = "counter-claim: smoothed teachers hurt at T > 1"
    finding, = paper_claims.check(results)[name]
    assert (finding.verdict == "not judged") != judged
    if not judged:
        assert finding.reason == "not trained: agrees with its teacher on 93 %"
        table = distillation_tables.errors(results, "test", mnist=False)
        cells = {row[0]: row[3] for row in table[2:]}
        assert table[1][3] == "agrees with its teacher in training, %"
        assert cells["student of the teacher with α = 0.1, T = 4"] == "92.9, not trained"
        assert cells["student of the teacher with α = 0, T = 4"] == "95.0"
        assert cells["student without a teacher, α = 0"] == ""
    others = [name for name in paper_claims.check(results) if "T > 1 beats" in name or "T = 1" in name]
    assert others
    assert all(finding.verdict != "not judged" for name in others for finding in paper_claims.check(results)[name])


@pytest.mark.parametrize("dead, judged", [(0.10, False), (0.47, False), (0.48, True)])
def test_a_student_that_failed_to_train_decides_nothing(config, dead, judged):
    """One seed of the students at T = 4 has units that all died: it agrees by chance and does not rise any more."""
    hot = lambda row: (row["temperature"] or 0) > 1 and row["teacher_alpha"] == 0.1 and row["seed"] == 0
    results = with_agreement(config, lambda row: dead if hot(row) else 0.95, lambda row: 0.0)
    finding, = paper_claims.check(results)["counter-claim: smoothed teachers hurt at T > 1"]
    assert (finding.verdict == "not judged") != judged


def test_a_curve_through_a_student_that_has_not_trained_decides_nothing(config):
    """The unsmoothed teacher's students over T are the curve that those of smoothed teachers are compared with."""
    hot = lambda row: (row["temperature"] or 0) > 1 and row["teacher_alpha"] == 0
    results = with_agreement(config, lambda row: 0.5 if hot(row) else 0.95, lambda row: 0.1 * hot(row))
    for name in ("smoothed teachers distil worse", "dark knowledge helps",
                 "counter-claim: smoothed teachers diffuse their students"):
        findings = paper_claims.check(results)[name]
        assert findings and {each.reason for each in findings} == {"not trained: agrees with its teacher on 50 %"}
    before = [record for record in results if not record.quantity.startswith("agreement")]  # of an earlier version
    assert all(each.verdict != "not judged" for found in paper_claims.check(before).values() for each in found)


def test_the_points_that_an_interpolation_uses():
    points = {"a": (0.4, 0.8), "b": (0.1, 0.5), "c": (0.7, 0.2)}
    assert conditions.around(0.2, points) == ["b", "a"] and conditions.around(0.4, points) == ["a"]
    assert conditions.around(0.05, points) == conditions.around(0.8, points) == []


def test_the_reports_section(config, tmp_path):
    page = section(shown(made_up(config, lambda row: 0.5), tmp_path / "figures", config=configs.plain(config)))
    for text in ("Distillation, test split (Figure 5)", 'href="teachers/net/report.html"', "equivalent smoothing γ",
                 "student of the control of the teacher with α = 0, T = 4"):
        assert text in page
    assert {path.name for path in (tmp_path / "figures").glob("*.png")} == {"distillation.png", "distillation_grid.png"}
    assert section(shown([], tmp_path, config=configs.plain(config))) == ""


def test_tables_stand_beside_the_papers_numbers():
    config = configs.load("configs/mnist_distill.py", "smoke")
    results = made_up(config, lambda row: 0.99)
    caption, header, *rows = distillation_tables.errors(results, "test", mnist=True)
    assert [row[0] for row in rows] == [
        "teacher dropout, α = 0", "teacher smoothed, α = 0.1", "student without a teacher, α = 0",
        "student of the teacher with α = 0", "student of the teacher with α = 0.1"
    ]
    assert [row[3] for row in rows] == ["0.67", "0.59", "1.46 (Hinton et al. 2015)", "0.74", "0.91"]
