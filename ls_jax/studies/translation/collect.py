"""Translation after training: likelihood, calibration and BLEU at several temperatures (Figure 4) and beam widths."""
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from ls_jax import losses
from ls_jax.data import Dataset, memory, order
from ls_jax.devices import mesh as meshes
from ls_jax.devices.layout import over_mesh
from ls_jax.models.translator import Translator
from ls_jax.studies.common import crossed
from ls_jax.studies.common.crossed import Sample
from ls_jax.studies.common.records import Record
from ls_jax.studies.common.studied import Studied
from ls_jax.studies.translation import bleu, records
from ls_jax.studies.translation.measure import BINS, Curve, Translated
from ls_jax.training import step, sweep
from ls_jax.workdir import files


def check(config: ml_collections.ConfigDict, dataset: Dataset) -> None:
    """Raise UserError before training where the study needs sacrebleu and it is not installed."""
    if dataset.text is not None:
        bleu.signatures()


def collect(studied: Studied) -> list[Record]:
    """Records of the translation study; none for images. Translations at temperature 1 are saved in translations/.

    Likelihood and calibration use all held-out tokens, given the correct prefix, at `config.translation.temperatures`.
    The sentences of `config.evaluate.split` are translated at each temperature of `config.translation.decoded` with the
    first width of `.beams`, and at temperature 1 with the other widths. Other held-out files are translated at 1 only.
    """
    this, states, rows = studied.run, studied.states, studied.rows
    if this.dataset.text is None:
        return []
    curves = [Curve(split, rows[member], temperatures, *(array[member] for array in arrays), sentences)
              for split, temperatures, arrays, sentences in _curves(this, states) for member in studied.kept]
    weights = meshes.fetch(
        this.layout.join([state.ema if this.config.optimizer.ema else state.params for state in states]))
    if not studied.primary:
        return []
    translated = [each for member in studied.kept
                  for each in _translations(this, member, rows[member], sweep.take(weights, member), studied.outputs)]
    return records.run(curves, translated, bleu.signatures())


def curve(
    logits: Float[Array, "*tokens vocabulary"], labels: Int[Array, "*tokens"], groups: Float[Array, "*tokens groups"],
    temperature: Float[Array, ""]
) -> tuple[Float[Array, " groups"], Float[Array, "groups bins"], Float[Array, "groups bins"],
           Float[Array, "groups bins"]]:
    """Sums over the tokens of each group at one temperature: NLL, and by bins (lo, hi] count, confidence and correct.

    `groups` is 1 where a token is in a group, and 0 in all groups of tokens that do not count.
    """
    scaled = logits / temperature
    nll = losses.cross_entropy(scaled, labels, masked=False)
    confidence = jnp.exp(jnp.max(scaled, axis=-1) - jax.nn.logsumexp(scaled, axis=-1))
    place = jnp.clip(jnp.ceil(confidence * BINS).astype(jnp.int32) - 1, 0, BINS - 1)
    into, counted = jax.nn.one_hot(place, BINS), groups.sum(axis=-1) > 0

    def total(values: Array) -> Float[Array, "groups bins"]:
        return jnp.einsum("...g,...b->gb", groups, into * values.astype(jnp.float32)[..., None])

    return (jnp.einsum("...g,...->g", groups, jnp.where(counted, nll, 0.0)), total(counted), total(confidence),
            total(jnp.argmax(logits, axis=-1) == labels))


def _curves(this, states) -> Iterator[tuple[str, np.ndarray, tuple[np.ndarray, ...], int]]:
    """(split, temperatures, sums of `curve` [members, temperatures, ...], sentences) for every held-out split."""
    temperatures = np.asarray(this.config.translation.temperatures, np.float32)

    def measure(state, temperatures, ids, mask, groups, arrays):
        batch = memory.gather(arrays, ids)
        logits = this.step.predict(state, batch).logits
        counted = mask[:, None] & batch.counted
        into = jax.nn.one_hot(groups, crossed.GROUPS) * counted[..., None].astype(jnp.float32)
        return lax.psum(lax.map(lambda each: curve(logits, batch.labels, into, each), temperatures), "data")

    program = over_mesh(measure, this.layout, (meshes.MEMBER, meshes.SHARED, meshes.ROWS, meshes.ROWS, meshes.ROWS,
                                               meshes.SHARED), meshes.MEMBER)
    for name, split in this.dataset.splits.items():
        if name == "train":
            continue
        arrays, grid = memory.place(split, this.layout.mesh), meshes.put(this.layout.mesh, meshes.SHARED, temperatures)
        groups, sentences = _groups(split)
        parts = []
        for rows in order.padded(len(split), this.evaluator.batch_size):
            ids, mask, of_tokens = meshes.put(this.layout.mesh, meshes.ROWS, (*rows, groups[rows[0]]))
            parts.append(meshes.fetch(this.layout.join(program(states, grid, ids, mask, of_tokens, arrays))))
        sums = tuple(np.sum(each, axis=0, dtype=np.float64) for each in zip(*parts))
        yield name, temperatures, tuple(each[:, :, :groups.max() + 1] for each in sums), sentences


def _groups(split):
    """(the group of each token's sentence [rows, length], number of sentences); padding is in any group."""
    counted = np.flatnonzero(split.inputs.target_segments > 0)
    sentence = split.sentences(counted)
    groups = np.zeros(split.labels.shape, np.int32)
    groups.reshape(-1)[counted] = crossed.groups(sentence)
    return groups, int(sentence.max()) + 1


def _translations(this, member, row, weights, workdir) -> Iterator[Translated]:
    """One member's translations of the held-out sentences, with scores."""
    settings, text = this.config.translation, this.dataset.text
    graphdef, _ = step.build_network(this.config, len(this.dataset.class_names), None, None)
    translators = {beams: Translator(graphdef, beams=beams, extra=settings.extra) for beams in settings.beams}
    first, measured = settings.beams[0], this.config.evaluate.split
    for file, sentences in text.sentences.items():
        split = "test" if file.startswith("test") else file
        main = split == measured and file == next(name for name in text.sentences if name.startswith(measured))
        count = min(len(sentences), settings.sentences or len(sentences)) if main else len(sentences)
        chosen = sentences.take(np.arange(count))
        ids, lengths = text.vocabulary.encode(chosen.source)
        sources = np.split(ids, np.cumsum(lengths)[:-1])
        settings_here = [(first, temperature)
                         for temperature in dict.fromkeys((1.0, *settings.decoded))] if main else [(first, 1.0)]
        settings_here += [(beams, 1.0) for beams in settings.beams[1:]] if main else []
        for beams, temperature in settings_here:
            found = translators[beams](weights, sources, length_penalty=settings.length_penalty,
                                       temperature=temperature)
            hypotheses = text.vocabulary.decode(found)
            if (beams, temperature) == (first, 1.0):
                _save(workdir, file, member, hypotheses)
            share = sum(map(len, found)) / len(text.vocabulary.encode(chosen.target)[0])
            scores, halves = bleu.measured(hypotheses, chosen.target)
            yield Translated(split, file, row, beams, temperature, len(chosen),
                             {**scores, "length ratio": Sample(share)}, halves if main else None)


def _save(workdir, file, member, hypotheses):
    path = workdir / "translations" / f"{file}-{member:03d}.de"
    path.parent.mkdir(exist_ok=True)
    files.write_text(path, "".join(f"{line}\n" for line in hypotheses))
