"""Pictures that are read as they are needed: crops by (seed, step, id), what is damaged, and a run over a build of
JPEGs."""
import io

import jax
import ml_collections
import numpy as np
import pytest
from PIL import Image

from ls_jax import config as configs
from ls_jax import data
from ls_jax.data import feed, memory, order
from ls_jax.data.pictures import stream
from ls_jax.data.pictures.jpeg import central_box, picture, random_box
from ls_jax.devices import mesh as meshes
from ls_jax.devices.layout import Layout
from ls_jax.errors import UserError
from tests.builds import encode, smooth, write_build

pytest.importorskip("simplejpeg", reason="decodes JPEGs: pip install -e '.[imagenet]'")
CROP = ml_collections.FrozenConfigDict(dict(area=(0.2, 1.0), aspect=(0.75, 1.33), central=0.875))


class Source:
    """In place of a TFDS data source; remembers what was read."""

    def __init__(self, images):
        self.images, self.asked = images, []

    def __len__(self):
        return len(self.images)

    def __getitems__(self, ids):
        self.asked += ids
        return [{"image": self.images[id], "label": id % 3, "file_name": b"n%02d.JPEG" % id} for id in ids]


def split_of(images, size=24, share=0.5):
    records = stream.Records.__new__(stream.Records)
    records.builder, records.name, records.faults = None, "train", stream.Faults("pictures", share)
    records.__dict__["_source"] = Source(images)
    records.__post_init__()
    return stream.Pictures(records, size, CROP)


@pytest.fixture
def split():
    return split_of([encode(smooth(40 + 3 * i, 80 - 3 * i, seed=i)) for i in range(10)])


def test_the_central_crop_is_pillows(split):
    pixels = smooth(100, 60)
    ours = picture(encode(pixels), 32, lambda h, w: central_box(0.875, h, w))
    top, left, rows, columns = central_box(0.875, 100, 60)
    assert (top, left, rows, columns) == (6, 4, 88, 52)
    theirs = Image.fromarray(pixels[top:top + rows, left:left + columns]).resize((32, 32), Image.Resampling.BILINEAR)
    assert np.abs(ours.astype(int) - np.asarray(theirs).astype(int)).mean() < 4


@pytest.mark.parametrize("height,width", [(200, 300), (301, 199), (1000, 700)])
def test_a_reduced_transform_gives_the_same_part_of_the_picture(height, width):
    """Of large crops pictures are decoded smaller; what is seen stays, to a few grey levels."""
    pixels = smooth(height, width)
    box = (height // 8, width // 4, height // 2, width // 2)
    ours = picture(encode(pixels), 24, lambda h, w: box).astype(int)
    whole = picture(encode(pixels, kind="PNG"), 24, lambda h, w: box).astype(int)
    assert np.abs(ours - whole).mean() < 5


@pytest.mark.parametrize("kind", ["4:4:4", "4:2:2", "4:2:0", "grey", "progressive", "restarts"])
def test_decoding_ends_below_the_crop_and_changes_no_pixel(kind):
    """What comes after the crop is not read, and the crop is that of the whole picture to the last bit, also of a
    reduced one."""
    import cv2
    import simplejpeg
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (60, 70, 3), np.uint8)).resize((211, 181), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    options = {"grey": {}, "progressive": dict(progressive=True), "restarts": dict(restart_marker_rows=1)}
    (noise.convert("L") if kind == "grey" else noise).save(file, "JPEG", **options.get(kind, dict(subsampling=kind)))
    jpeg, full = file.getvalue(), simplejpeg.decode_jpeg(file.getvalue(), "RGB")
    half = simplejpeg.decode_jpeg(jpeg, "RGB", min_factor=2, min_width=106)
    for top, rows in ((0, 16), (7, 50), (33, 17), (100, 80), (140, 41)):
        part = cv2.resize(full[top:top + rows, 5:205], (60, 60))
        np.testing.assert_array_equal(picture(jpeg, 60, lambda h, w: (top, 5, rows, 200)), part)
        small = cv2.resize(half[round(top / 2):round(top / 2) + round(rows / 2), 2:102], (8, 8))
        if rows < 20:  # a half is all that the crop allows
            np.testing.assert_array_equal(picture(jpeg, 8, lambda h, w: (top, 5, rows, 200)), small)


def test_damage_below_the_crop_is_not_met_and_damage_above_it_is():
    jpeg = bytearray(encode(np.random.default_rng(0).integers(0, 256, (160, 160, 3), np.uint8)))
    jpeg[len(jpeg) // 2:len(jpeg) // 2 + 2] = b"\xff\xd9"  # an end of the picture in its middle
    take = lambda top, rows: picture(bytes(jpeg), 24, lambda h, w: (top, 0, rows, 160))
    assert take(0, 40).std() > 0
    for top, rows in ((0, 160), (80, 40), (120, 40)):
        with pytest.raises(ValueError, match="JPEG"):
            take(top, rows)


def test_random_boxes_lie_inside_and_fill_the_stated_range():
    shares, ratios = [], []
    for index in range(500):
        top, left, rows, columns = random_box((0.2, 1.0), (0.75, 1.33), stream.generator(0, 0, index), 90, 120)
        assert 0 <= top <= 90 - rows and 0 <= left <= 120 - columns
        shares.append(rows * columns / (90 * 120))
        ratios.append(columns / rows)
    assert 0.19 < min(shares) < 0.25 and max(shares) > 0.8
    assert 0.72 < min(ratios) < 0.8 and 1.25 < max(ratios) < 1.38
    assert random_box((0.9, 1.0), (3.0, 3.1), stream.generator(0, 0, 0), 50, 20) == (15, 0, 20, 20)


def test_what_an_example_becomes_depends_on_seed_step_and_id_alone(split):
    """Neither on the batch, nor on the rows that are asked for, nor on the other member."""
    ids = np.array([[[3, 1, 4], [1, 5, 9]], [[2, 6, 5], [3, 5, 8]], [[3, 1, 4], [1, 5, 9]]], np.int32)
    seeds = np.array([7, 8, 7])
    whole = np.asarray(stream.Rows(split, ids, seeds, step=10))
    assert whole.shape == (3, 2, 3, 24, 24, 3) and whole.dtype == np.uint8
    np.testing.assert_array_equal(whole[0], whole[2])
    part = stream.Rows(split, ids, seeds, step=10)[1:2, :, 1:3, 0:24, 0:24, 0:3]
    np.testing.assert_array_equal(part, whole[1:2, :, 1:3])
    later = np.asarray(stream.Rows(split, ids[:, 1:], seeds, step=11))
    np.testing.assert_array_equal(later, whole[:, 1:])
    assert not np.array_equal(whole[0, 0, 1], whole[0, 1, 0])  # id 1 at the next step
    assert not np.array_equal(whole[0, 1, 1], whole[1, 1, 1])  # id 5 of the other seed


def test_only_this_shards_rows_are_read(split):
    split.records._source.asked.clear()
    ids = np.arange(8, dtype=np.int32).reshape(1, 1, 8)
    rows = stream.Rows(split, ids, np.array([0]))
    rows[:, :, 2:4]
    assert sorted(split.records._source.asked) == [2, 3]
    np.testing.assert_array_equal(stream.Rows(split, ids, labels=True)[:, :, 2:4], [[[2, 0]]])
    assert sorted(split.records._source.asked) == [2, 3], "labels came with the pictures"


def test_examples_of_a_class_are_found_wherever_they_are(split, monkeypatch):
    """The first in a fixed order, however many records are read at a time; and no more are read than it takes."""
    found = split.find([0, 2], 2)
    assert found.dtype == np.int32 and sorted(split.labels_of(found)) == [0, 0, 2, 2] and list(found) == sorted(found)
    monkeypatch.setattr(stream.tfds_build, "CHUNK", 3)
    anew = split_of(split.records._source.images)
    np.testing.assert_array_equal(anew.find([0, 2], 2), found)
    assert set(found) <= set(anew.records._source.asked) != set(range(10))
    np.testing.assert_array_equal(split.find([1], 100), [1, 4, 7])
    np.testing.assert_array_equal(split.take(np.array([4, 2, 7])).find([1], 100), [0, 2])


def test_parts_of_a_split_keep_labels_and_pictures(split):
    part = split.take(np.array([4, 7, 8])).take(np.array([0, 2]))
    assert len(part) == 2
    np.testing.assert_array_equal(part.labels, [1, 2])
    np.testing.assert_array_equal(part.images, split.decode(np.array([4, 8])))


def test_cmyk_and_grey_are_decoded_and_the_damaged_is_named_once_and_grey(capsys):
    pixels = smooth(50, 50)
    images = [encode(pixels), encode(pixels, "CMYK"), encode(pixels[..., 0], "L"), encode(pixels)[:200], b"no picture"]
    split = split_of(images)
    decoded = split.decode(np.arange(5)).astype(int)
    assert np.abs(decoded[0] - decoded[1]).mean() < 12  # CMYK and back
    assert np.abs(decoded[2] - np.asarray(decoded[2][..., :1])).max() == 0
    assert (decoded[3:] == stream.GREY).all()
    split.decode(np.array([4]), lambda index: stream.generator(0, 0, index))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and any("train example 4 (n04.JPEG) cannot be decoded" in line for line in lines)


def test_too_many_damaged_pictures_end_the_run():
    split = split_of([encode(smooth(40, 40)), b"", b""], share=0.4)
    split.decode(np.array([0, 1]))
    with pytest.raises(UserError, match="2 of 3 train images cannot be decoded, more than config.data.damaged=0.4"):
        split.decode(np.array([0, 2]))


def test_the_feed_is_the_same_from_any_step_on_and_shares_the_pictures_of_a_seed(split):
    layout = Layout(meshes.make(1, 2, 2, 4), 2, "unroll")
    arrays = memory.place(split, layout.mesh)
    start = lambda first: feed.training(layout, arrays, np.array([3, 3], np.int32), len(split), 4, first, 6,
                                        lambda step: 1)
    batches = list(start(0))
    assert [steps for steps, _ in batches] == [1] * 6
    for (_, ours), (_, later) in zip(batches[4:], start(4), strict=True):
        assert ours[0] is ours[1]
        jax.tree.map(np.testing.assert_array_equal, ours[0], later[0])
    given = batches[5][1][0]
    np.testing.assert_array_equal(given.ids, order.block(len(split), 4, [3], 5, 1))
    np.testing.assert_array_equal(given.inputs, stream.Rows(split, np.asarray(given.ids), np.array([3]), 5))
    np.testing.assert_array_equal(given.labels, np.asarray(given.ids) % 3)


def test_evaluation_gives_every_example_once(split):
    layout = Layout(meshes.make(1, 2, 1, 4), 1, "unroll")
    arrays, index = memory.place(split, layout.mesh), np.arange(10, dtype=np.int32)
    seen = [(np.asarray(given.ids)[mask], np.asarray(given.inputs)[mask])
            for given, _, mask in feed.evaluation(layout, arrays, index, 4)]
    np.testing.assert_array_equal(np.concatenate([ids for ids, _ in seen]), index)
    np.testing.assert_array_equal(np.concatenate([images for _, images in seen]), split.images)


def test_an_error_reaches_the_loop():
    def make(item):
        if item == 2:
            raise UserError("read it again")
        return item

    results = feed.ahead(make, range(5), 2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(UserError, match="read it again"):
        next(results)


def test_builds_that_cannot_be_streamed_are_told(tmp_path):
    """Before anything is read, with the command that helps."""
    picture = smooth(20, 30)
    write = lambda name, splits, **options: write_build(tmp_path / name, splits,
                                                        **{"shape": (None, None, 3), "encode": encode, **options})
    both = {"train": ([picture], [0]), "validation": ([picture], [0])}
    build = write("tfrecord", {"train": ([], []), "validation": ([], [])}, file_format="tfrecord")
    write("one size", both, shape=(20, 30, 3))
    write("no labels", {"train": ([picture], [0]), "validation": ([picture], [-1])})
    for place, message in {
        "gs://bucket/tfds": "images cannot be read from gs://bucket/tfds: .*gcloud storage cp --recursive "
                            "gs://bucket/tfds/tiny DIR",
        tmp_path / "tfrecord": f"as tfrecord, .* tfds convert_format --dataset_version_dir={build} "
                               "--out_file_format=array_record$",
        tmp_path / "one size": "data.image_size=24 is for images of many sizes, and those of tiny have one: unset it",
        tmp_path / "no labels": "tiny has labels in train of its splits; it needs train and validation or test",
    }.items():
        config = configs.default().data
        config.update(name="tiny", dir=str(place), image_size=24)
        with pytest.raises(UserError, match=message):
            data.load(config)
