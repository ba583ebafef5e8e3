"""The network of the speed records: whitened first layer, initial filters, evaluation of mirror images."""
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from ls_jax import models
from ls_jax.models import fastnet
from tests.models.test_models import apply, batch_of, split

WIDTHS = (32, 16, 24)


def smooth_pictures(count=60, side=10, channels=3, seed=0):
    """Noise whose neighbouring pixels and channels are correlated, with a mean."""
    noise = np.random.default_rng(seed).normal(size=(count, side + 2, side + 2, channels))
    mixed = noise @ np.array([[1.0, 0.8, 0.1], [0.0, 0.5, 0.4], [0.3, 0.0, 1.5]])
    return (mixed[:, 2:, 2:] + mixed[:, 1:-1, 2:] + 0.5 * mixed[:, 2:, :-2] + 1).astype(np.float32)


def filtered(images, kernel):
    """float64 responses [positions, filters] of a 2x2 VALID convolution, written as sums."""
    kernel = np.asarray(kernel, np.float64)
    windows = sliding_window_view(np.asarray(images, np.float64), (2, 2), axis=(1, 2))
    return np.einsum("nhwcij,ijcf->nhwf", windows, kernel).reshape(-1, kernel.shape[-1])


def test_whitened_patches_have_the_identity_as_second_moments():
    """Up to what EPSILON takes from small eigenvalues: λ / (λ + ε)."""
    images = smooth_pictures()
    kernel = fastnet.whitening(images)
    assert kernel.shape == (2, 2, 3, 24) and kernel.dtype == np.float32
    responses = filtered(images, kernel[..., :12])
    moments = responses.T @ responses / len(responses)
    plain = filtered(images, np.eye(12).reshape(2, 2, 3, 12))
    eigenvalues = np.linalg.eigvalsh(plain.T @ plain / len(plain))
    assert eigenvalues[-1] > 30 * eigenvalues[0], "these pictures were not white before"
    np.testing.assert_allclose(moments, np.diag(eigenvalues / (eigenvalues + 5e-4)), atol=1e-5)


def test_filters_come_in_pairs_of_opposite_sign_in_a_fixed_order():
    images = smooth_pictures()
    kernel = fastnet.whitening(images)
    np.testing.assert_array_equal(kernel[..., 12:], -kernel[..., :12])
    flat = kernel[..., :12].reshape(12, 12)
    assert (flat[np.abs(flat).argmax(0), np.arange(12)] > 0).all()
    np.testing.assert_array_equal(fastnet.whitening(images), kernel)
    # in several parts
    np.testing.assert_allclose(fastnet.whitening(np.concatenate([images] * 10)), kernel, rtol=1e-4, atol=1e-5)


def test_the_first_layer_is_the_written_convolution_of_measured_filters():
    images = smooth_pictures(4)
    layer = fastnet.Whitening(3, dtype=jnp.float32)
    for kernel in (layer.kernel[...], fastnet.FastNet.statistics(smooth_pictures())["whiten"]["kernel"]):
        layer.kernel.set_value(jnp.asarray(kernel))
        np.testing.assert_allclose(np.asarray(layer(jnp.asarray(images))).reshape(-1, 24), filtered(images, kernel),
                                   rtol=1e-4, atol=1e-4)


def test_statistics_have_the_names_and_shapes_of_the_models():
    _, _, stats = split("fastnet", (12, 12, 3), widths=WIDTHS)
    for layer, arrays in models.statistics("fastnet")(smooth_pictures()).items():
        for name, array in arrays.items():
            assert stats[layer][name].shape == array.shape and stats[layer][name].dtype == array.dtype
    assert models.statistics("resnet") is None


def test_initial_filters():
    """conv1 has more outputs (32) than inputs (24): those copy, the rest are uniform; conv3 (32 -> 16) and conv2 (32 ->
    32) only copy."""
    _, params, _ = split("fastnet", (12, 12, 3), widths=WIDTHS)
    images = jnp.asarray(np.random.default_rng(0).normal(size=(1, 5, 5, 32)), jnp.float32)
    through = lambda layer, x: jax.lax.conv_general_dilated(x, params[layer]["kernel"], (1, 1), "SAME",
                                                            dimension_numbers=("NHWC", "HWIO", "NHWC"))
    np.testing.assert_array_equal(through("conv1", images[..., :24])[..., :24], images[..., :24])
    np.testing.assert_array_equal(through("conv2", images), images)
    np.testing.assert_array_equal(through("conv3", images), images[..., :16])
    rest = np.asarray(params["conv1"]["kernel"][..., 24:])
    bound = (9 * 24) ** -0.5
    assert np.abs(rest).max() <= bound
    np.testing.assert_allclose(rest.std(), bound / 3 ** 0.5, rtol=0.05)
    _, wide, _ = split("fastnet", (12, 12, 3), widths=(8, 8, 256))
    np.testing.assert_allclose(wide["head"]["kernel"].std(), 1.0, rtol=0.03)


def test_mirrored_evaluation_is_the_mean_of_both():
    graphdef, params, stats = split("fastnet", (12, 12, 3), widths=WIDTHS)
    mirrored, *_ = split("fastnet", (12, 12, 3), widths=WIDTHS, mirrored=True)
    images = batch_of((12, 12, 3))
    both, one, other = (apply(*network, params, stats, x, False)[0] for network, x in (
        ((mirrored,), images), ((graphdef,), images), ((graphdef,), images[:, :, ::-1])))
    np.testing.assert_allclose(both.logits, (one.logits + other.logits) / 2, atol=1e-5)
    np.testing.assert_allclose(both.logits, both.features @ params["head"]["kernel"], atol=1e-5)
    trained = [apply(network, params, stats, images, True)[0].logits for network in (graphdef, mirrored)]
    np.testing.assert_array_equal(*trained)


def test_pictures_that_are_too_small_are_refused():
    split("fastnet", (9, 9, 1), widths=WIDTHS)
    with pytest.raises(ValueError, match="8x8 pixels are too few, it needs 9x9"):
        split("fastnet", (8, 8, 1), widths=WIDTHS)
