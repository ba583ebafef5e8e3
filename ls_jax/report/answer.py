"""The answer to "did label smoothing help here?": sentences of the studies in order, and what to do.

The recommendation follows from the sentences by these rules, in this order:

1. Accuracy, and BLEU. Helped: use that α, or the one that validation chose most often, if choosing gained too. Harmed:
   do not smooth for accuracy. No difference: smoothing is not needed for accuracy. Cannot tell: nothing is said.
2. Confidences. Temperature scaling is better: scale the temperature. Smoothing is better: smooth. If neither is known
   to be better, what calibration says: helped, smoothing calibrates; harmed, it does not.
3. Likelihood, at each network's best temperature, and the ranking of errors. Where one of them is harmed: do not smooth
   where it matters.
4. Distillation. Students of the smoothed teacher are worse: do not distil from it, at that temperature.

What would make it surer: more seeds or examples where a sentence cannot tell, and more steps where networks are still
training.
"""
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from ls_jax.studies import registry
from ls_jax.studies.calibration.answer import alone
from ls_jax.studies.common import course, records
from ls_jax.studies.common.answers import HARMED, HELPED, SMALL, UNKNOWN, Sentence
from ls_jax.studies.common.markup import SPLIT_NAMES, Table, render

FILE = "answer.json"
ORDER = ("BLEU", "accuracy", "choice of α", "calibration", "temperature scaling", "likelihood",
         "likelihood, each network at its best temperature", "ranking of errors by confidence",
         "clusters of held-out examples", "distillation", "distillation at T = 1",
         "rivals of label smoothing")
MARKS = {HELPED: "holds", "smoothing is better": "holds", HARMED: "fails", "scaling is better": "fails"}  # in style.css
MORE_SEEDS = "--config.sweep.seed='(0,1,2)'"


class Answer(NamedTuple):
    """The answer of one run or analysis."""
    setting: str                  # of which networks and examples the sentences speak
    sentences: Sequence[Sentence]
    recommendation: str
    surer: str                    # what would make it surer; "" where nothing is open

    def as_json(self) -> dict[str, Any]:
        """The content of answer.json."""
        return {"setting": self.setting, "sentences": [sentence.as_json() for sentence in self.sentences],
                "recommendation": self.recommendation, "surer": self.surer}

    def lines(self) -> list[str]:
        """The answer as lines for the terminal."""
        last = [f"So: {self.recommendation}", *([f"Surer: {self.surer}"] if self.surer else [])]
        return [f"Did label smoothing help? {self.setting}", *(f"- {each.text}" for each in self.sentences), *last]

    def box(self) -> Markup:
        """The answer as HTML, for the top of a page."""
        return render("report/templates/answer.html", answer=self, marks=MARKS)


def of(results: Sequence[records.Record]) -> Answer:
    """The answer of a run's or an analysis's records, on the test set where there is one, else on validation."""
    splits = {record.split for record in results} - {"train"}
    split = "test" if "test" in splits else "validation"
    found = [sentence for _, answer in registry.having("answer") for sentence in answer(results, split)]
    differences = records.select(results, kind=records.DIFFERENCE)
    seeds = max((record.n for record in differences), default=0)
    if not found or seeds < 2:
        return _undecided(results, split, bool(differences))
    found.sort(key=lambda sentence: ORDER.index(sentence.about) if sentence.about in ORDER else len(ORDER))
    return Answer(_setting(results, found, split, seeds), found, recommendation(found), _surer(found, results))


def recommendation(sentences: Sequence[Sentence]) -> str:
    """What to do, by the rules above."""
    by_about = {sentence.about: sentence for sentence in sentences}
    said = [*_on_bleu(by_about), *_on_accuracy(by_about), *_on_confidences(by_about), *_on_likelihood(by_about)]
    for sentence in sentences:
        if sentence.about.startswith("distillation") and sentence.kind == HARMED:
            at = sentence.about.removeprefix("distillation")
            said.append(f"Do not distil from the smoothed network{at}.")
    return " ".join(said) or "These numbers decide nothing yet."


def _on_bleu(by_about):
    bleu = by_about.get("BLEU")
    if bleu is None or bleu.kind == UNKNOWN:
        return []
    return [{HELPED: f"Use α = {bleu.alpha:g} to translate.", HARMED: "Do not smooth to translate.",
             SMALL: "Smoothing is not needed to translate."}[bleu.kind]]


def _on_accuracy(by_about):
    accuracy, choice = by_about.get("accuracy"), by_about.get("choice of α")
    if accuracy is None or accuracy.kind == UNKNOWN:
        return []
    chosen = choice.alpha if choice is not None and choice.kind == HELPED and choice.alpha else accuracy.alpha
    return [{HELPED: f"Use α = {chosen:g} for accuracy.", HARMED: "Do not smooth for accuracy.",
             SMALL: "Smoothing is not needed for accuracy."}[accuracy.kind]]


def _on_confidences(by_about):
    kinds = {about: by_about[about].kind for about in ("temperature scaling", "calibration") if about in by_about}
    if kinds.get("temperature scaling") == HARMED:
        return ["If confidences matter, scale the temperature: that calibrates better than smoothing."]
    if kinds.get("temperature scaling") == HELPED:
        return ["If confidences matter, smooth: that calibrates better than scaling the temperature."]
    return {HELPED: ["Smoothing also makes confidences more honest."],
            HARMED: ["If confidences matter, do not smooth."]}.get(kinds.get("calibration"), [])


def _on_likelihood(by_about):
    names = {"likelihood, each network at its best temperature": "the likelihood",
             "ranking of errors by confidence": "the ranking of errors"}
    harmed = [name for about, name in names.items() if about in by_about and by_about[about].kind == HARMED]
    return [f"Where {' or '.join(harmed)} matters, do not smooth."] if harmed else []


def _setting(results, found, split, seeds):
    alpha = next((sentence.alpha for sentence in found if sentence.about != "choice of α" and sentence.alpha), None)
    examples = next((record.extra["examples"] for record in records.select(results, study="accuracy", split=split)
                     if "examples" in record.extra), None)
    both = any(record.covers == records.BOTH for record in records.select(results, kind=records.DIFFERENCE))
    drawn = "new seeds and new examples" if both else "new seeds on the same examples"
    count = f"{examples:,} " if examples else ""
    return (f"With α = {alpha:g} against 0, {seeds} seeds, on {count}{SPLIT_NAMES[split]} examples; 95 % intervals for "
            f"{drawn}.")


def _undecided(results, split, differences):
    if differences:
        return Answer("One seed was trained.", (), "One seed decides nothing: how much luck varies is unknown. Train "
                      f"three or more, such as {MORE_SEEDS}.", "")
    said = (alone(results, split), "To learn what smoothing does, train with α = 0 and another α, on the same seeds.")
    return Answer("No network with smoothing was compared with one without.", (), " ".join(filter(None, said)), "")


def _surer(found, results):
    said = [f"{sentence.about}: {sentence.verdict.partition(': ')[2]}" for sentence in found
            if sentence.kind == UNKNOWN]
    arms = dict.fromkeys(record.arm for record in records.select(
        results, study="training", quantity=course.STILL_TRAINING, kind=records.VALUE) if record.mean > 0)
    if arms:
        said.append(f"still training ({', '.join(arms)}): more steps would show more")
    return f"{'; '.join(said)}." if said else ""


def together(answers: Mapping[str, Answer]) -> Markup:
    """An HTML table that compares runs: a row a run, a column for each thing that a sentence is about."""
    abouts = [about for about in (*ORDER, *dict.fromkeys(
        sentence.about for answer in answers.values() for sentence in answer.sentences if sentence.about not in ORDER))
        if any(sentence.about == about for answer in answers.values() for sentence in answer.sentences)]
    rows = [(name, *(next((sentence.verdict for sentence in answer.sentences if sentence.about == about), "")
                     for about in abouts), answer.recommendation) for name, answer in answers.items()]
    table = Table(("run", *abouts, "so"), rows, "Each run's answer; the numbers are below.")
    return render("report/templates/answers.html", table=table)
