"""data.augment: crops, flips and normalisations against closed forms."""
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ls_jax.data.pictures import augment


def keys(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


def images(count, height=32, width=32, channels=3, seed=0):
    return jnp.asarray(np.random.default_rng(seed).integers(0, 256, (count, height, width, channels), np.uint8))


def views(image, count, augmentation):
    """Pixels 0..255 of many augmented views of one image, before normalisation."""
    return np.asarray(jax.jit(jax.vmap(augment.AUGMENTATIONS[augmentation], (None, 0)))(image, keys(count)))


def check_uniform(cells, count):
    """Chi-square of `count` draws over the cells 0..k-1, all of which occur; the limit is k's 0.1 % point, roughly."""
    observed = np.bincount(cells, minlength=count)
    expected = len(cells) / count
    degrees = count - 1
    assert observed.min() > 0
    assert np.sum((observed - expected) ** 2 / expected) < degrees + 3.3 * np.sqrt(2 * degrees) + 4


def ramp(height, width):
    """An image that names its own rows, columns: channels (row + 1, column + 1, 1)."""
    rows, columns = np.mgrid[1:height + 1, 1:width + 1].astype(np.uint8)
    return jnp.stack([rows, columns, np.ones_like(rows)], axis=-1)


@pytest.mark.parametrize("augmentation, padding",
                         [("crop_flip", 4), ("tutorial_crop_flip", 0), ("shift", 2), ("reflect_crop", 2)])
def test_crops_are_windows_with_uniform_offsets_and_flips(augmentation, padding):
    """Each view is one of the windows of the padded image, all (offset, flip) equally often."""
    size = 24 if augmentation == "tutorial_crop_flip" else 32
    mode, flips = "reflect" if augmentation == "reflect_crop" else "constant", augmentation.endswith("flip")
    padded = np.pad(np.asarray(ramp(32, 32)), ((padding, padding), (padding, padding), (0, 0)), mode=mode)
    offsets = 33 + 2 * padding - size
    windows = {}
    for y in range(offsets):
        for x in range(offsets):
            window = padded[y:y + size, x:x + size]
            windows[window.tobytes()] = 2 * (y * offsets + x)
            if flips:
                windows[window[:, ::-1].tobytes()] = 2 * (y * offsets + x) + 1
    cells = np.array([windows[view.tobytes()] for view in views(ramp(32, 32), 20 * len(windows), augmentation)])
    assert offsets**2 == (81 if flips else 25)
    if not flips:
        cells = cells // 2
    check_uniform(cells, len(windows))


def test_shift_keeps_the_mass_of_a_centred_blob():
    blob = np.zeros((28, 28, 1), np.uint8)
    blob[4:24, 4:24] = images(1, 20, 20, 1)[0]
    shifted = views(jnp.asarray(blob), 100, "shift")
    np.testing.assert_array_equal(shifted.sum((1, 2, 3), dtype=int), blob.sum(dtype=int))


def test_images_of_any_shape_are_shifted():
    assert views(images(1, 8, 6, 1)[0], 3, "shift").shape == (3, 8, 6, 1)


def test_tutorial_distorts_its_crop_by_brightness_then_contrast():
    """Each channel is an affine map of the cropped channel: the same slope in 0.2..1.8, the mean moved by -63..63."""
    image = np.asarray(images(1)[0])
    crops = [image[y:y + 24, x:x + 24][:, ::step].astype(np.float64)
             for y in range(9) for x in range(9) for step in (1, -1)]
    slopes, shifts = [], []
    normal = np.stack([(crop - crop.mean((0, 1))) / np.linalg.norm(crop - crop.mean((0, 1))) for crop in crops])
    for view in views(jnp.asarray(image), 200, "tutorial").astype(np.float64):
        mean = view.mean((0, 1))
        deviation = view - mean
        overlap = np.einsum("nhwc,hwc->n", normal, deviation) / np.linalg.norm(deviation)
        crop = crops[int(overlap.argmax())]
        np.testing.assert_allclose(overlap.max(), 1, rtol=1e-9)
        slopes.append(np.linalg.norm(deviation) / np.linalg.norm(crop - crop.mean((0, 1))))
        moved = mean - crop.mean((0, 1))
        np.testing.assert_allclose(moved, moved[0], atol=5e-4)  # a mean of 576 numbers near 128, in float32
        shifts.append(moved[0])
    check_uniform(((np.array(slopes) - 0.2) / 1.6 * 5).astype(int), 5)
    check_uniform(((np.array(shifts) + 63) / 126 * 5).astype(int), 5)
    np.testing.assert_allclose([min(shifts), max(shifts), min(slopes), max(slopes)], [-63, 63, 0.2, 1.8], rtol=0.1)
    assert max(np.abs(shifts)) > 62 and abs(np.corrcoef(slopes, shifts)[0, 1]) < 0.2


def test_standardize_is_the_formula():
    x = np.asarray(images(5), np.float64)
    expected = (x - x.mean((1, 2, 3), keepdims=True)) / x.std((1, 2, 3), keepdims=True)
    np.testing.assert_allclose(augment.evaluate(images(5), "none", "standardize"), expected, atol=2e-6)


def test_standardize_of_flat_images():
    """A constant image is 0, whatever its colour; one step of grey in one pixel is not yet at the floor of the
    deviation."""
    flat = np.full((2, 32, 32, 3), [[[[0]]], [[[201]]]], np.uint8)
    np.testing.assert_array_equal(augment.evaluate(jnp.asarray(flat), "none", "standardize"), 0)
    flat[1, 0, 0, 0] += 1
    n = 32 * 32 * 3
    deviation = np.sqrt((1 - 1 / n) / n)
    expected = (1 - 1 / n) / max(deviation, 1 / np.sqrt(n))
    np.testing.assert_allclose(augment.evaluate(jnp.asarray(flat), "none", "standardize")[1, 0, 0, 0], expected,
                               rtol=1e-4)


def test_unit_and_none_change_nothing_else():
    expected = np.asarray(images(4)) / np.float32(255)
    np.testing.assert_allclose(augment.train(images(4), keys(4), "none", "unit"), expected, rtol=1e-6)
    np.testing.assert_allclose(augment.evaluate(images(4), "crop_flip", "unit"), expected, rtol=1e-6)


@pytest.mark.parametrize("augmentation", ["tutorial", "tutorial_crop_flip"])
def test_evaluation_takes_the_central_crop(augmentation):
    expected = np.asarray(images(4))[:, 4:28, 4:28] / np.float32(255)
    np.testing.assert_allclose(augment.evaluate(images(4), augmentation, "unit"), expected, rtol=1e-6)


@pytest.mark.parametrize("augmentation", augment.AUGMENTATIONS)
@pytest.mark.parametrize("normalization", augment.NORMALIZATIONS)
def test_shapes_and_dtypes(augmentation, normalization):
    size = 24 if augmentation.startswith("tutorial") else 32
    assert augment.output_shape((32, 32, 3), augmentation) == (size, size, 3)
    for result in (augment.train(images(2), keys(2), augmentation, normalization),
                   augment.evaluate(images(2), augmentation, normalization)):
        assert result.shape == (2, size, size, 3) and result.dtype == jnp.float32


@pytest.mark.parametrize("augmentation", augment.AUGMENTATIONS)
def test_an_example_is_augmented_by_its_key_alone(augmentation, optimized):
    """In a batch, in another batch, alone, and under vmap over members. Exact up to the order of sums when alone."""
    run = jax.jit(lambda x, k: augment.train(x, k, augmentation, "standardize"))
    x, k = images(16), keys(16)
    together = run(x, k)
    np.testing.assert_array_equal(run(x[::-1], k[::-1])[::-1], together)
    np.testing.assert_array_equal(jnp.concatenate([run(x[:8], k[:8]), run(x[8:], k[8:])]), together)
    alone = jnp.concatenate([run(x[i:i + 1], k[i:i + 1]) for i in range(16)])
    np.testing.assert_allclose(alone, together, atol=5e-6)
    members = jax.jit(jax.vmap(run))(jnp.stack([x, x[::-1]]), jnp.stack([k, k[::-1]]))
    np.testing.assert_allclose(members[0], together, atol=5e-6)
    np.testing.assert_allclose(members[1][::-1], together, atol=5e-6)
    if augmentation != "none":
        assert not np.array_equal(run(x, keys(16, seed=1)), together)


def test_mirror_reverses_the_columns_where_the_lowest_bit_is_set():
    pictures, bits = images(4, 5, 6), jnp.asarray([0, 1, 2, 2**32 - 1], jnp.uint32)
    mirrored = augment.mirror(pictures, bits)
    np.testing.assert_array_equal(mirrored[::2], pictures[::2])
    np.testing.assert_array_equal(mirrored[1::2], np.asarray(pictures)[1::2, :, ::-1])


def test_no_convolution_is_compiled():
    for augmentation in augment.AUGMENTATIONS:
        run = jax.jit(lambda x, k, name=augmentation: augment.train(x, k, name, "standardize"))
        assert "convolution" not in run.lower(images(4), keys(4)).as_text()


def test_mistakes_are_told():
    with pytest.raises(ValueError, match="unknown augmentation 'mixup'; choose one of none, shift"):
        augment.train(images(1), keys(1), "mixup", "unit")
    with pytest.raises(ValueError, match="unknown augmentation 'mixup'"):
        augment.output_shape((32, 32, 3), "mixup")
    with pytest.raises(ValueError, match="unknown normalization 'zca'; choose one of unit, symmetric, standardize"):
        augment.evaluate(images(1), "none", "zca")
    with pytest.raises(ValueError, match="'tutorial' crops 24x24 pixels, but the images are 8x8"):
        augment.output_shape((8, 8, 1), "tutorial")


def test_saturation_is_that_of_hsv():
    """Against the standard library's conversions, pixel by pixel; grey stays grey."""
    import colorsys
    pixels = np.random.default_rng(0).uniform(0, 255, (4, 4, 3)).astype(np.float32)
    pixels[0, 0] = 80
    for factor in (0.5, 1.0, 1.5):
        expected = np.empty_like(pixels)
        for row, column in np.ndindex(4, 4):
            hue, saturation, value = colorsys.rgb_to_hsv(*pixels[row, column] / 255)
            expected[row, column] = 255 * np.array(colorsys.hsv_to_rgb(hue, min(1.0, factor * saturation), value))
        np.testing.assert_allclose(augment.saturate(jnp.asarray(pixels), jnp.float32(factor)), expected, atol=1e-3)


def test_inceptions_colours_stay_in_range_and_spread_as_stated():
    """On grey, which saturation leaves, brightness alone is seen: within +-32 and evenly; pictures are mirrored half of
    the time."""
    keys = jax.random.split(jax.random.key(0), 400)
    grey = jax.vmap(lambda key: augment.inception(jnp.full((2, 2, 3), 100, jnp.uint8), key))(keys)
    shifts = np.asarray(grey[:, 0, 0, 0]) - 100
    assert np.abs(shifts).max() <= 32 and abs(shifts.mean()) < 3 and 17 < shifts.std() < 20
    picture = np.zeros((2, 4, 3), np.uint8)
    picture[:, 0] = (250, 10, 10)
    coloured = np.asarray(jax.vmap(lambda key: augment.inception(jnp.asarray(picture), key))(keys))
    assert coloured.min() >= 0 and coloured.max() <= 255
    left = coloured[:, 0, 0, 0] > coloured[:, 0, 3, 0]
    assert 0.4 < left.mean() < 0.6


def test_symmetric_is_minus_one_to_one():
    image = jnp.asarray([[[0], [51], [255]]], jnp.uint8)
    np.testing.assert_allclose(augment.symmetric(image)[0, :, 0], [-1, -0.6, 1], atol=1e-6)
