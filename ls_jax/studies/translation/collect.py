"""Translation at a run's end: what a softmax temperature does to likelihood, calibration and BLEU (the paper's Figure 4), and beams."""
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from ls_jax import losses
from ls_jax.data import Dataset, memory, order
from ls_jax.devices import mesh as meshes
from ls_jax.devices.layout import over_mesh
from ls_jax.models.translator import Translator
from ls_jax.studies.common import records as results
from ls_jax.studies.common.studied import Studied
from ls_jax.studies.translation import records as translation_records
from ls_jax.studies.translation.bleu import scores, signatures
from ls_jax.studies.translation.measure import BINS, Curve, Translated
from ls_jax.training import step, sweep
from ls_jax.workdir import files


def check(config: ml_collections.ConfigDict, dataset: Dataset) -> None:
    """Raises UserError where the study will need sacrebleu and it is not installed: before the training, rather than after it."""
    if dataset.text is not None:
        signatures()


def collect(studied: Studied) -> list[results.Record]:
    """Records of the translation study; none of images. The translations at temperature 1 are kept in translations/.

    Every token of every held-out split is teacher-forced at every temperature of `config.translation.temperatures`. The held-out
    sentences of `config.evaluate.split` are translated at those of `config.translation.decoded` with the first of `.beams`, and with
    the other beams at 1; the other held-out files at 1 alone.
    """
    this, states, rows = studied.run, studied.states, studied.rows
    if this.dataset.text is None:
        return []
    curves = [Curve(split, rows[member], temperatures, *(array[member] for array in arrays))
              for split, temperatures, arrays in _curves(this, states) for member in studied.kept]
    weights = meshes.fetch(this.layout.join([state.ema if this.config.optimizer.ema else state.params for state in states]))
    if not studied.primary:
        return []
    translated = [each for member in studied.kept
                  for each in _translations(this, member, rows[member], sweep.take(weights, member), studied.outputs)]
    return translation_records.run(curves, translated, signatures())


def curve(logits: Float[Array, "*tokens vocabulary"], labels: Int[Array, "*tokens"], counted: Bool[Array, "*tokens"],
          temperature: Float[Array, ""]) -> tuple[Float[Array, ""], Float[Array, " bins"], Float[Array, " bins"], Float[Array, " bins"]]:
    """Sums over the tokens that count, at one temperature: of the NLL; and by bins of confidence, (lo, hi], their number, confidence and
    correctness."""
    scaled = logits / temperature
    nll = losses.cross_entropy(scaled, labels, masked=False)
    confidence = jnp.exp(jnp.max(scaled, axis=-1) - jax.nn.logsumexp(scaled, axis=-1))
    place = jnp.clip(jnp.ceil(confidence * BINS).astype(jnp.int32) - 1, 0, BINS - 1)
    into = jax.nn.one_hot(place, BINS) * counted[..., None].astype(jnp.float32)
    total = lambda values: jnp.einsum("...b,...->b", into, values.astype(jnp.float32))
    return (jnp.sum(jnp.where(counted, nll, 0.0)), total(counted), total(confidence), total(jnp.argmax(logits, axis=-1) == labels))


def _curves(this, states) -> Iterator[tuple[str, np.ndarray, tuple[np.ndarray, ...]]]:
    """(split, temperatures, the sums of `curve` [members, temperatures, ...]) of every held-out split."""
    temperatures = np.asarray(this.config.translation.temperatures, np.float32)

    def measure(state, temperatures, ids, mask, arrays):
        batch = memory.gather(arrays, ids)
        logits = this.step.predict(state, batch).logits
        counted = mask[:, None] & batch.counted
        return lax.psum(lax.map(lambda each: curve(logits, batch.labels, counted, each), temperatures), "data")

    program = over_mesh(measure, this.layout, (meshes.MEMBER, meshes.SHARED, meshes.ROWS, meshes.ROWS, meshes.SHARED), meshes.MEMBER)
    for name, split in this.dataset.splits.items():
        if name == "train":
            continue
        arrays, grid = memory.place(split, this.layout.mesh), meshes.put(this.layout.mesh, meshes.SHARED, temperatures)
        parts = []
        for rows in order.padded(len(split), this.evaluator.batch_size):
            ids, mask = meshes.put(this.layout.mesh, meshes.ROWS, rows)
            parts.append(meshes.fetch(this.layout.join(program(states, grid, ids, mask, arrays))))
        yield name, temperatures, tuple(np.sum(each, axis=0, dtype=np.float64) for each in zip(*parts))


def _translations(this, member, row, weights, workdir) -> Iterator[Translated]:
    """One member's translations of the held-out sentences, scored."""
    settings, text = this.config.translation, this.dataset.text
    graphdef, _ = step.network(this.config, len(this.dataset.class_names), None, None)
    translators = {beams: Translator(graphdef, beams=beams, extra=settings.extra) for beams in settings.beams}
    first, measured = settings.beams[0], this.config.evaluate.split
    for file, sentences in text.sentences.items():
        split = "test" if file.startswith("test") else file
        main = split == measured and file == next(name for name in text.sentences if name.startswith(measured))
        count = min(len(sentences), settings.sentences or len(sentences)) if main else len(sentences)
        chosen = sentences.take(np.arange(count))
        ids, lengths = text.vocabulary.encode(chosen.source)
        sources = np.split(ids, np.cumsum(lengths)[:-1])
        settings_here = [(first, temperature) for temperature in dict.fromkeys((1.0, *settings.decoded))] if main else [(first, 1.0)]
        settings_here += [(beams, 1.0) for beams in settings.beams[1:]] if main else []
        for beams, temperature in settings_here:
            found = translators[beams](weights, sources, length_penalty=settings.length_penalty, temperature=temperature)
            hypotheses = text.vocabulary.decode(found)
            if (beams, temperature) == (first, 1.0):
                _save(workdir, file, member, hypotheses)
            share = sum(map(len, found)) / len(text.vocabulary.encode(chosen.target)[0])
            yield Translated(split, file, row, beams, temperature, len(chosen),
                             {**scores(hypotheses, chosen.target), "length ratio": share})


def _save(workdir, file, member, hypotheses):
    path = workdir / "translations" / f"{file}-{member:03d}.de"
    path.parent.mkdir(exist_ok=True)
    files.write_text(path, "".join(f"{line}\n" for line in hypotheses))
