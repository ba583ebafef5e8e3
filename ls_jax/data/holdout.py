"""The hold-out: which training examples become the split "validation", and which are trained on."""
from typing import Any

import numpy as np

from ls_jax.errors import UserError

SEED = 190602629  # never a run's seed, so that all runs share one split


def split(name: str, splits: dict[str, Any], holdout: int, train_examples: int | None) -> dict[str, Any]:
    """The splits after `holdout` training examples became "validation", with `train_examples` of the rest (None: all).

    One permutation of the training set, from a fixed seed, decides both. Its front is held out, and its back is trained
    on. So a smaller training subset is part of every larger one, and does not depend on the hold-out. Both splits keep
    the data set's order.

    Raises:
        UserError: the data set `name` has a validation split of its own, or is too small.
    """
    if not holdout and train_examples is None:
        return splits
    train = splits["train"]
    available = len(train) - holdout
    if holdout and "validation" in splits:
        raise UserError(f"data.holdout={holdout}, but {name} has its own validation split; set data.holdout=0")
    if holdout < 0 or available < 1:
        raise UserError(f"data.holdout={holdout} must be from 0 to {len(train) - 1}: {name} has {len(train)} "
                        "training examples")
    if train_examples is not None and not 1 <= train_examples <= available:
        raise UserError(f"data.train_examples={train_examples} must be from 1 to {available}: {name} has "
                        f"{len(train)} training examples, of which data.holdout={holdout} are held out")
    # RandomState, not default_rng: NumPy has frozen its streams, so the split is the same in every version.
    order = np.random.RandomState(SEED).permutation(len(train))
    kept = available if train_examples is None else train_examples
    result = {"train": train.take(np.sort(order[len(order) - kept:]))}
    if holdout:
        result["validation"] = train.take(np.sort(order[:holdout]))
    return splits | result
