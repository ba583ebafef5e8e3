"""Labels, numbers, masks and names of odd types: every public function of the studies gives the same numbers, or
refuses by name."""
import ml_dtypes
import numpy as np
import pytest
from scipy.special import log_softmax

from ls_jax import checked
from ls_jax.errors import InvalidArray, UserError
from ls_jax.studies import accuracy, calibration, distillation, information, projection, representation, selective
from ls_jax.studies.calibration import binning, bootstrap, scores, temperature
from ls_jax.studies.calibration import records as calibration_records
from ls_jax.studies.common import class_statistics, streaming
from ls_jax.studies.representation import neural_collapse
from ls_jax.studies.transfer import measure as probe

INTEGERS = ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", ">i2", ">i4", ">i8", ">u2", ">u8"]
FLOATS = ["f2", "f4", "f8", ">f2", ">f4", ">f8", "g", ml_dtypes.bfloat16]
CLASSES = 100
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, CLASSES, 400)
LABELS[:3] = 99, 64, 3
LOGITS = (RNG.normal(size=(400, CLASSES)) + 3 * np.eye(CLASSES)[LABELS]).astype(np.float32)
FEATURES = RNG.normal(size=(400, 6)).astype(np.float32)
KERNEL, BIAS = RNG.normal(size=(6, CLASSES)).astype(np.float32), RNG.normal(size=CLASSES).astype(np.float32)
SIMILAR = distillation.similar_classes(LOGITS, LABELS)
FEW = LABELS % 4  # for the probe, whose time grows with the classes

pytestmark = pytest.mark.usefixtures("unchecked")  # what functions themselves say of bad input


def network(labels, logits=LOGITS, features=FEATURES):
    return {"logits": logits, "labels": labels, "features": features, "kernel": KERNEL, "bias": BIAS}


OF_LABELS = {
    "accuracy": lambda y, z=LOGITS: accuracy.accuracy(z, y),
    "nll": lambda y, z=LOGITS: accuracy.negative_log_likelihood(z, y),
    "accuracy.measure": lambda y, z=LOGITS: list(accuracy.measure_all(z, y).values()),
    "ece": lambda y, z=LOGITS: calibration.expected_calibration_error(z, y),
    "classwise ece": lambda y, z=LOGITS: calibration.expected_calibration_error(z, y, scheme="classwise"),
    "reliability": lambda y, z=LOGITS: calibration.reliability(z, y, interval=0.9).accuracy,
    "ece difference": lambda y, z=LOGITS: calibration.calibration_error_difference(z, z[::-1], y, draws=20),
    "class sums": lambda y, z=LOGITS: np.concatenate([each.ravel() for each in binning.class_sums(z, y, 15)[1:4]]),
    "top label": lambda y, z=LOGITS: np.stack(streaming.top_label(z, y)),
    "scores nll": lambda y, z=LOGITS: scores.negative_log_likelihood(z, y),
    "brier": lambda y, z=LOGITS: scores.brier_split(z, y),
    "smooth ece": lambda y, z=LOGITS: scores.smooth_calibration_error(z, y),
    "aurc": lambda y, z=LOGITS: selective.aurc(z, y, norm=3),
    "select norm": lambda y, z=LOGITS: selective.select_norm(z, y, norms=(1, 2, 3)),
    "best norm": lambda y, z=LOGITS: selective.best_norm(z, y, (1, 2)),
    "temperature": lambda y, z=LOGITS: temperature.fit_temperature(z, y).temperature,
    "temperature by ece": lambda y, z=LOGITS: temperature.fit_temperature(z, y, criterion="ece",
                                                                          grid=(0.5, 1.0, 2.0)).temperature,
    "minimise nll": lambda y, z=LOGITS: temperature.minimise_nll(z, y)[0],
    "minimise ece": lambda y, z=LOGITS: temperature.minimise_ece(z, y, grid=(0.5, 1.0, 2.0))[0],
    "scores at": lambda y, z=LOGITS: temperature.scores_at(z, y, 2.0),
    "equivalent smoothing": lambda y, z=LOGITS: distillation.equivalent_smoothing(z, y, 2.0),
    "stability": lambda y, z=LOGITS: distillation.stability(z, y),
    "similar classes": lambda y, z=LOGITS: distillation.similar_classes(z, y),
    "representation": lambda y, z=LOGITS: list(representation.measure_all(network(y, z)).values()),
    "projection": lambda y, z=LOGITS: list(projection.numbers(network(y, z)).values()),
    "one triple": lambda y, z=LOGITS: list(projection.numbers(network(y, z), (3, 64, 99)).values()),
    "calibration study": lambda y, z=LOGITS: list(
        next(calibration_records.measure({"seed": 0}, {"test": (z, y)})).values.values()),
    "disagreement": lambda y, z=LOGITS: class_statistics.disagreement(network(y, z),
                                                                      class_statistics.of_features(FEATURES, y)),
}
OF_FEATURES = {
    "class statistics": lambda y, x=FEATURES: class_statistics.of_features(x, y).within,
    "diffusion": lambda y, x=FEATURES: distillation.diffusion(x, x[::-1], y, SIMILAR),
    "collapsed": lambda y: information.collapsed(y),
    "half samples": lambda y, x=FEATURES: information.half_samples(x, None, y, count=3),
    "probe": lambda y, x=FEATURES: probe.fit_one(x, (y % 4).astype(y.dtype), 4,
                                                 0.1).accuracy(x, (y % 4).astype(y.dtype)),
}


@pytest.mark.parametrize("name", [*OF_LABELS, *OF_FEATURES])
def test_labels_of_every_integer_type(name):
    measure = {**OF_LABELS, **OF_FEATURES}[name]
    expected = measure(LABELS)
    for dtype in INTEGERS:
        np.testing.assert_array_equal(measure(LABELS.astype(dtype)), expected, err_msg=dtype)
    if name not in ("probe", "accuracy", "nll", "accuracy.measure"):  # of these the tests check that they get arrays
        np.testing.assert_array_equal(measure(LABELS.tolist()), expected)


@pytest.mark.parametrize("name", [name for name in OF_LABELS if name not in ("accuracy", "nll", "accuracy.measure")])
def test_logits_of_every_real_type(name):
    """As if they had been converted before: what is short to float32, what is long and integers to float64."""
    for dtype in [*FLOATS, "i2", ">i4", "u1"]:
        given = np.abs(np.round(LOGITS)).astype(dtype) if dtype in ("i2", ">i4", "u1") else LOGITS.astype(dtype)
        same = given.astype(np.float64 if given.dtype.kind in "iu" or given.dtype.itemsize > 4 else np.float32)
        np.testing.assert_array_equal(OF_LABELS[name](LABELS, given), OF_LABELS[name](LABELS, same), err_msg=str(dtype))


@pytest.mark.parametrize("name", [name for name in OF_FEATURES if name != "collapsed"])
def test_features_of_every_real_type(name):
    for dtype in [*FLOATS, "i2"]:
        given = FEATURES.astype(dtype)
        same = given.astype(np.float64)
        np.testing.assert_array_equal(OF_FEATURES[name](LABELS, given), OF_FEATURES[name](LABELS, same),
                                      err_msg=str(dtype))


@pytest.mark.parametrize("name", [*OF_LABELS, *OF_FEATURES])
@pytest.mark.parametrize("labels", [np.asarray(3), LABELS.astype(object), LABELS.astype(float), LABELS.astype("U3"),
                                    LABELS > 3,
                                    np.full(400, 2**64 - 1, np.uint64)],
                         ids=["0-d", "object", "float", "text", "bool", "huge"])
def test_other_labels_are_refused_by_name(name, labels):
    if name == "probe":
        return  # it takes them modulo
    # TypeError: jaxtyping's, of the functions that the tests check the shapes of
    with pytest.raises((InvalidArray, TypeError)) as error:
        {**OF_LABELS, **OF_FEATURES}[name](labels)
    assert "labels" in str(error.value)
    if isinstance(error.value, InvalidArray):
        assert "\n" not in str(error.value) and isinstance(error.value,
                                                           ValueError) and isinstance(error.value, UserError)


@pytest.mark.parametrize("name", OF_LABELS)
@pytest.mark.parametrize("label", [-1, 100, 2**40])
def test_labels_that_are_no_class_are_refused(name, label):
    labels = LABELS.copy()
    labels[7] = label
    with pytest.raises(InvalidArray, match="labels must be in 0..99"):
        OF_LABELS[name](labels)


@pytest.mark.parametrize("name", OF_LABELS)
@pytest.mark.parametrize("logits", [LOGITS.astype(object), LOGITS.astype(complex), LOGITS.astype("S9"), LOGITS > 0,
                                    np.asarray(1.0)],
                         ids=["object", "complex", "bytes", "bool", "0-d"])
def test_other_logits_are_refused_by_name(name, logits):
    if name == "ece difference" and not logits.ndim:
        return  # it is given a part of them
    with pytest.raises((InvalidArray, TypeError, ValueError)) as error:
        OF_LABELS[name](LABELS, logits)
    assert "logits" in str(error.value)


@pytest.mark.parametrize("name", [*OF_LABELS, *OF_FEATURES])
def test_masked_arrays_are_refused_by_name(name):
    """NumPy drops their masks without a word."""
    masked = lambda array: np.ma.MaskedArray(array, np.zeros(array.shape, bool))
    calls = [] if name == "probe" else [("labels", (masked(LABELS),))]  # it takes them modulo
    if name != "collapsed":
        given = LOGITS if name in OF_LABELS else FEATURES
        calls.append(("logits|draws|features", (LABELS, masked(given))))
    for what, arguments in calls:
        with pytest.raises(InvalidArray, match=f"({what}) is a masked array"):
            {**OF_LABELS, **OF_FEATURES}[name](*arguments)


NOT_FINITE = {
    "similar classes": (lambda x: distillation.similar_classes(x, LABELS), LOGITS, "teacher_logits"),
    "linear cka": (lambda x: representation.linear_cka(x, FEATURES), FEATURES, "features"),
    "other of linear cka": (lambda x: representation.linear_cka(FEATURES, x), FEATURES, "others"),
    "class statistics": (lambda x: class_statistics.of_features(x, LABELS), FEATURES, "features"),
    "diffusion": (lambda x: distillation.diffusion(FEATURES, x, LABELS, SIMILAR), FEATURES, "reference"),
    "project": (lambda x: projection.project(x, np.eye(6, 2)), FEATURES, "features"),
    "kernel of a span": (lambda x: projection.template_span(x, BIAS), KERNEL, "kernel"),
    "bias of a span": (lambda x: projection.template_span(KERNEL, x), BIAS, "bias"),
    "probe": (lambda x: probe.fit(x, FEW, 4), FEATURES, "features"),
    "measures of features": (lambda x: representation.measure_all(network(LABELS, features=x)), FEATURES, "features"),
    "measures of a kernel": (lambda x: representation.measure_all(network(LABELS) | {"kernel": x}), KERNEL, "kernel"),
}


@pytest.mark.parametrize("name", NOT_FINITE)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused_by_name(name, value):
    measure, array, what = NOT_FINITE[name]
    array = array.copy()
    at = (5, 2)[2 - array.ndim:]
    array[at] = value
    with pytest.raises(InvalidArray) as error:
        measure(array)
    assert str(error.value) == f"{what}[{', '.join(map(str, at))}] is {value}: every number must be finite"


@pytest.mark.parametrize("measure", [
    lambda y, z: temperature.scores_at(z, y, 2.0), lambda y, z: temperature.minimise_nll(z, y),
    lambda y, z: temperature.minimise_ece(z, y),
    lambda y, z: accuracy.measure_all(z, y), lambda y, z: representation.measure_all(network(y, z, FEATURES[:0])),
    lambda y, z: class_statistics.of_features(FEATURES[:0], y),
    lambda y, z: representation.linear_cka(FEATURES[:0], FEATURES[:0])])
def test_no_examples_are_refused_in_one_line(measure):
    with pytest.raises(ValueError, match="at least one") as error:
        measure(LABELS[:0], LOGITS[:0])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("code", [0x110000, 2**31 - 1, 0xD800])
def test_names_of_numbers_that_are_no_characters_are_refused_by_name(code):
    names = np.array([97, code], "u4").view("U1")
    with pytest.raises(InvalidArray, match=r"^class_names\[1\] holds a number that is no character of Unicode$"):
        checked.strings(names)
    with pytest.raises(InvalidArray, match="class_names is a masked array"):
        checked.strings(np.ma.MaskedArray(["a"]))
    assert checked.strings(np.array(["ä", "狗"])) == ["ä", "狗"] and checked.strings(np.array(["ä".encode()])) == ["ä"]


def test_float8_from_a_file_is_refused_with_the_way_out(tmp_path):
    np.savez(tmp_path / "mine.npz", logits=LOGITS.astype(ml_dtypes.float8_e4m3fn))
    with pytest.raises(InvalidArray, match=r"as NumPy writes float8: convert it with .astype\(np.float32\) first"):
        checked.reals(np.load(tmp_path / "mine.npz")["logits"])


@pytest.mark.parametrize("function", [
    lambda x: neural_collapse.simplex(x), lambda x: neural_collapse.duality(x, x),
    lambda x: neural_collapse.logit_simplex(x, x),
    lambda x: neural_collapse.variability(np.eye(6), x), lambda x: representation.effective_rank(x),
    lambda x: representation.linear_cka(x, x), lambda x: information.logit_information(x),
    lambda x: information.printed_information(x),
    lambda x: information.fitted_mixture(x)[1], lambda x: information.neighbour_information(x),
    lambda x: information.repeated(x),
    lambda x: information.mixture_information(x[0], 0.5)])
def test_matrices_of_every_float_type(function):
    for dtype in ("f2", ">f4", ">f8", ml_dtypes.bfloat16):
        given = FEATURES[:6].astype(dtype)
        if dtype == "f2":
            given = np.round(given).astype(dtype)  # whose products are exact
        assert function(given) == pytest.approx(function(given.astype(np.float64)),
                                                rel=0.02 if given.dtype.kind == "V" else 1e-12)
    for dtype in (object, complex):
        with pytest.raises((InvalidArray, TypeError), match="dtype|float"):
            function(FEATURES[:6].astype(dtype))


# The issue's own numbers, with neighbours

def test_small_labels_of_many_classes_count_in_their_own_columns():
    """100 classes times 15 bins do not fit uint8 (nor 9 times 15 int8): a column's number was cut off."""
    confident = log_softmax(np.float32(4) * np.eye(100, dtype=np.float32)[LABELS], axis=1)
    for dtype in INTEGERS:
        split = scores.brier_split(confident, LABELS.astype(dtype))
        assert split.refinement >= 0 and split == scores.brier_split(confident, LABELS)


@pytest.mark.parametrize("mask", [np.arange(400) % 3 > 0, (np.arange(400) % 3 > 0).astype("u1"),
                                  (np.arange(400) % 3 > 0).astype(">i8")])
def test_masks_of_zeros_and_ones_are_masks_and_no_positions(mask):
    kept = np.arange(400) % 3 > 0
    assert scores.brier_score(LOGITS, LABELS, mask=mask) == scores.brier_score(LOGITS[kept], LABELS[kept])
    for wrong in (mask.astype(float), mask * 2 if mask.dtype != bool else np.arange(400), mask.astype(object),
                  np.asarray(True)):
        with pytest.raises(InvalidArray, match="mask"):
            scores.brier_score(LOGITS, LABELS, mask=wrong)


def test_outcomes_of_zeros_and_ones_are_outcomes():
    """~ of the integer 1 is -2."""
    of = streaming.top_label(LOGITS, LABELS)
    for dtype in ("u1", "i8"):
        area = selective.risk_coverage_area(of.confidence, of.correct)
        assert selective.risk_coverage_area(of.confidence, of.correct.astype(dtype)) == area
        assert scores.smooth_error(of.confidence,
                                   of.correct.astype(dtype)) == scores.smooth_error(of.confidence, of.correct)
        joint = [bootstrap.joint(of.confidence[None], correct[None], draws=20)
                 for correct in (of.correct, of.correct.astype(dtype))]
        np.testing.assert_array_equal(joint[0].errors, joint[1].errors)
    short = of.confidence.astype(np.float16)
    assert scores.smooth_error(short, of.correct) == scores.smooth_error(short.astype(float), of.correct)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_largest_finite_float32_logits_have_finite_scores(dtype, recwarn):
    logits = np.where(np.eye(10)[np.arange(40) % 10] > 0, 3e38, -3e38).astype(dtype)
    labels = np.arange(40) % 10
    labels[0] = 5
    assert scores.negative_log_likelihood(logits, labels) == pytest.approx(6e38 / 40, rel=1e-6)
    assert scores.negative_log_likelihood(logits, labels, temperature=0.01) == pytest.approx(6e40 / 40, rel=1e-6)
    assert accuracy.negative_log_likelihood(logits, labels) == pytest.approx(6e38 / 40, rel=1e-6)
    values = next(calibration_records.measure({"seed": 0}, {"test": (logits, labels)})).values
    assert np.isfinite(list(values.values())).all()
    assert np.isfinite(temperature.fit_temperature(logits, labels).fitted).all()
    assert not [each for each in recwarn if "overflow" in str(each.message)]


# A class of -inf does not exist

@pytest.mark.parametrize("name", [name for name in OF_LABELS
                                  if name not in ("projection", "one triple", "representation", "disagreement",
                                                                              "similar classes", "calibration study",
                                                  "class sums")])
def test_a_class_that_never_exists_changes_nothing_else(name):
    """Scores of the predicted class, likelihoods and γ are those of the logits without its column."""
    if name in ("classwise ece",):
        return  # a mean over classes
    more = np.insert(LOGITS, 100, -np.inf, axis=1)
    np.testing.assert_allclose(OF_LABELS[name](LABELS, more), OF_LABELS[name](LABELS, LOGITS), rtol=1e-5)


def test_a_class_that_never_exists_has_no_part_in_a_mean_over_classes():
    more = np.insert(LOGITS, 100, -np.inf, axis=1)
    np.testing.assert_array_equal(distillation.similar_classes(more, LABELS)[:100, :100],
                                  distillation.similar_classes(LOGITS, LABELS))
    assert not distillation.similar_classes(more, LABELS)[:, 100].any()
    some = LOGITS.copy()
    some[LABELS == 3, 7] = np.where(np.arange(np.sum(LABELS == 3)) == 0, 50.0, -np.inf)
    assert distillation.similar_classes(some, LABELS)[3, 7]


def test_the_smoothing_of_a_teacher_runs_over_the_classes_that_exist():
    """K of K/(K-1) is each example's own: here 4 of 10."""
    logits = np.full((3, 10), -np.inf)
    labels = np.array([0, 4, 9])
    for row, label in enumerate(labels):
        logits[row, [label, (label + 1) % 10, (label + 2) % 10, (label + 5) % 10]] = np.log([0.7, 0.1, 0.1, 0.1])
    assert distillation.equivalent_smoothing(logits, labels) == pytest.approx(0.3 * 4 / 3)
    assert distillation.equivalent_smoothing(np.zeros((3, 1)), np.zeros(3, int)) == 0


def test_logits_that_say_nothing_are_refused():
    for value in (np.nan, np.inf):
        logits = LOGITS.copy()
        logits[5, 5] = value
        for function in (accuracy.accuracy, accuracy.negative_log_likelihood):
            with pytest.raises(InvalidArray, match="NaN or .inf"):
                function(logits, LABELS)
        with pytest.raises(InvalidArray, match=r"logits\[5, 5\] is"):
            projection.numbers(network(LABELS, logits))
    for function in (accuracy.accuracy, accuracy.negative_log_likelihood, scores.brier_score, distillation.stability):
        with pytest.raises(InvalidArray, match="all -inf"):
            function(np.where(np.arange(400)[:, None] == 9, -np.inf, LOGITS), LABELS)


# The helpers

def test_nothing_is_copied_that_is_already_right():
    assert checked.integers(LABELS) is LABELS and checked.reals(LOGITS) is LOGITS
    mask = LABELS > 3
    assert checked.booleans(mask) is mask


def test_names_are_strings_or_utf8():
    assert checked.strings(np.array(["Katze", "犬"])) == ["Katze", "犬"]
    assert checked.strings(np.array([b"Katze", "犬".encode()])) == ["Katze", "犬"]
    for wrong in (np.array(["a"], object), np.arange(3), np.asarray("a"), np.array([b"\xff"]), np.array([1j])):
        with pytest.raises(InvalidArray, match="class_names"):
            checked.strings(wrong)


def test_ml_dtypes_integers_are_integers():
    for dtype in (ml_dtypes.int4, ml_dtypes.uint4):
        assert checked.integers(np.arange(3).astype(dtype)).tolist() == [0, 1, 2]
    for dtype in (ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn):
        with pytest.raises(InvalidArray, match="integers are due"):
            checked.integers(np.arange(3).astype(dtype))
        assert checked.reals(np.arange(3).astype(dtype)).dtype == np.float32
    for raw in ("V2", "V4", [("a", "f4")]):
        with pytest.raises(InvalidArray, match="real numbers are due"):
            checked.reals(np.zeros(3, raw))


@pytest.mark.parametrize("value, message", [(np.nan, "is nan"), (np.inf, "is inf"), (-np.inf, "is -inf"),
                                            (1e39, "1e.39: .* at most 3.4e")])
def test_numbers_that_are_not_finite_are_named(value, message):
    block = np.zeros((5, 3))
    block[4, 1] = value
    with pytest.raises(InvalidArray, match=rf"logits\[104, 1\] {message}|logits\[104, 1\] is {message}"):
        checked.check_finite("logits", block, 100)
    if value == -np.inf:
        checked.check_finite("logits", block, 100, absent=True)
    else:
        with pytest.raises(InvalidArray):
            checked.check_finite("logits", block, 100, absent=True)
