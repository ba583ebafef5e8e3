"""Class triples by name, by id, and by default."""
import pytest

from ls_jax.errors import UserError
from ls_jax.studies.common import triples

NAMES = tuple("abcdef")


def test_resolve_takes_names_and_ids():
    assert triples.resolve((("e", 0, "c"), (1, 2, 3)), "digits", NAMES) == [(4, 0, 2), (1, 2, 3)]
    assert triples.resolve(("e", 0, "c"), "digits", NAMES) == [(4, 0, 2)]


def test_resolve_defaults_to_the_papers_triples():
    cifar10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    assert triples.resolve((), "cifar10", cifar10) == [(0, 1, 2)]
    cifar100 = ("apple", "aquarium_fish", "baby", "bear", "beaver", "dolphin", "otter")
    assert triples.resolve((), "cifar100", cifar100) == [(4, 5, 6), (0, 1, 2)]
    assert triples.resolve((), "fashion_mnist", NAMES) == [(0, 1, 2)]
    assert triples.resolve((), "cifar10", NAMES) == [(0, 1, 2)]  # a build with other names
    assert triples.resolve((), "two", ("cat", "dog")) == []


@pytest.mark.parametrize("classes, message", [
    ((("aeroplane", "cat", "dog"),), "'aeroplane', which is no class of this data set .did you mean 'airplane'"),
    ((("airplane", "cat", "xyz"),), "'xyz', which is no class of this data set: it has airplane, cat, dog"),
    (((0, 1, 3),), "holds 3: class ids go from 0 to 2"),
    (((0, 1),), r"holds \(0, 1\): a triple needs three different classes"),
    ((("cat", 1, 2),), r"holds \('cat', 1, 2\): a triple needs three different classes"),
])
def test_resolve_says_what_is_wrong(classes, message):
    with pytest.raises(UserError, match=message):
        triples.resolve(classes, "pets", ("airplane", "cat", "dog"))


def test_imagenets_classes_have_two_names():
    from tensorflow_datasets.core import tfds_path

    from ls_jax.data.pictures import stream
    names = stream._class_names("imagenet2012", tfds_path("datasets/imagenet2012/labels.txt").read_text().split())
    assert names[0] == "tench (n01440764)" and len(set(names)) == 1000
    paper = [(0, 299, 499), (265, 266, 0)]
    assert triples.resolve((), "imagenet2012", names) == paper
    assert triples.resolve((("tench", "meerkat", "cleaver"), ("toy poodle", "n02113712", names[0])), "imagenet2012",
                           names) == paper
    with pytest.raises(UserError,
                       match=r"'crane', .* 2 classes: choose crane \(bird\) \(n02012849\) or crane \(machine\) \(n0"):
        triples.resolve(("crane", "tench", "cleaver"), "imagenet2012", names)
