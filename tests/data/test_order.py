"""data.order: the stream of example ids of a seed."""
import numpy as np
import pytest

from ls_jax.data import order


def stream(num_examples, batch_size, seed, steps):
    return np.concatenate([order.ids(num_examples, batch_size, seed, step) for step in range(steps)])


def test_each_epoch_is_a_permutation_and_nothing_is_dropped():
    epochs = stream(10, 4, seed=3, steps=10).reshape(4, 10)
    np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(10), (4, 1)))
    assert len(np.unique(epochs, axis=0)) == 4, "epochs are shuffled anew"


def test_batch_size_does_not_change_the_stream():
    """Also for batches of several epochs."""
    expected = stream(7, 1, seed=0, steps=60)
    for batch_size in (4, 7, 20, 30):
        np.testing.assert_array_equal(stream(7, batch_size, 0, steps=60 // batch_size),
                                      expected[:60 // batch_size * batch_size])


def test_random_access_equals_sequential():
    sequential = [order.ids(50, 8, seed=1, step=step) for step in range(20)]
    order._permutation.cache_clear()
    for step in (19, 3, 12, 0):
        np.testing.assert_array_equal(order.ids(50, 8, seed=1, step=step), sequential[step])


def test_seeds_differ_and_do_not_disturb_each_other():
    alone = stream(100, 10, seed=1, steps=10)
    others = [stream(100, 10, seed=seed, steps=10) for seed in (0, 2, 3)]
    np.testing.assert_array_equal(stream(100, 10, seed=1, steps=10), alone)
    for other in others:
        assert np.mean(other == alone) < 0.1, "about one position in 100 agrees by chance"


def test_first_position_is_uniform():
    """Chi-square over 2000 seeds, 9 degrees of freedom; 27.9 is the 0.1 % point."""
    first = [order.ids(10, 1, seed=seed, step=0)[0] for seed in range(2000)]
    counts = np.bincount(first, minlength=10)
    assert np.sum((counts - 200) ** 2 / 200) < 27.9


def test_block_stacks_the_members_ids():
    result = order.block(30, 8, seeds=[4, 0, 4], step=5, steps=3)
    assert result.shape == (3, 3, 8) and result.dtype == np.int32
    for member, seed in enumerate([4, 0, 4]):
        for i in range(3):
            np.testing.assert_array_equal(result[member, i], order.ids(30, 8, seed, 5 + i))


def test_results_can_be_written_to_without_harm():
    first = order.ids(6, 6, seed=0, step=0)
    expected = first.copy()
    first[:] = -1
    np.testing.assert_array_equal(order.ids(6, 6, seed=0, step=0), expected)


@pytest.mark.parametrize("num_examples", [1, 7, 8, 9, 16])
def test_padded_holds_every_id_once(num_examples):
    batches = list(order.padded(num_examples, 8))
    assert all(ids.shape == mask.shape == (8,) and ids.dtype == np.int32 and mask.dtype == bool
               for ids, mask in batches)
    ids, mask = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    np.testing.assert_array_equal(ids[mask], np.arange(num_examples))
    assert len(ids) - num_examples < 8 and np.all(ids[~mask] == 0)


def test_padded_of_nothing_is_nothing():
    assert list(order.padded(0, 8)) == []


def test_bad_input_is_told():
    with pytest.raises(ValueError, match="seed -1 is negative"):
        order.ids(10, 2, seed=-1, step=0)
    with pytest.raises(ValueError, match="training split is empty"):
        order.ids(0, 2, seed=0, step=0)
