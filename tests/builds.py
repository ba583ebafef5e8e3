"""Pictures, and TFDS builds of them, on disk."""
import io
import json

import numpy as np
from array_record.python import array_record_module
from PIL import Image
from tensorflow_datasets.proto import tf_example_pb2


def png(image):
    file = io.BytesIO()
    Image.fromarray(image.squeeze()).save(file, "png")
    return file.getvalue()


def write_build(data_dir, splits, shape=(6, 5, 3), file_format="array_record", encode=png):
    """Writes what TFDS would: records of tf.train.Example, dataset_info.json and features.json."""
    build = data_dir / "tiny" / "1.0.0"
    build.mkdir(parents=True)
    for split, (images, labels) in splits.items():
        writer = array_record_module.ArrayRecordWriter(str(build / f"tiny-{split}.{file_format}-00000-of-00001"),
                                                       "group_size:1")
        for image, label in zip(images, labels, strict=True):
            example = tf_example_pb2.Example()
            example.features.feature["image"].bytes_list.value.append(encode(image))
            example.features.feature["label"].int64_list.value.append(label)
            writer.write(example.SerializeToString())
        writer.close()
    features = "tensorflow_datasets.core.features"
    dimensions = [str(size or -1) for size in shape]
    (build / "features.json").write_text(json.dumps({
        "pythonClassName": f"{features}.features_dict.FeaturesDict",
        "featuresDict": {"features": {
            "image": {"pythonClassName": f"{features}.image_feature.Image",
                      "image": {"dtype": "uint8", "shape": {"dimensions": dimensions}, "encodingFormat": "png"}},
            "label": {"pythonClassName": f"{features}.class_label_feature.ClassLabel",
                      "classLabel": {"numClasses": "3"}}}}}))
    (build / "label.labels.txt").write_text("cat\ndog\nemu\n")
    (build / "dataset_info.json").write_text(json.dumps({
        "name": "tiny", "version": "1.0.0", "fileFormat": file_format,
        "splits": [{"name": split, "shardLengths": [str(len(labels))], "numBytes": "1",
                    "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"}
                   for split, (images, labels) in splits.items()]}))
    return build


def smooth(height, width, seed=0):
    """A picture without detail, which survives JPEG and resizing."""
    rng = np.random.default_rng(seed)
    return np.asarray(Image.fromarray(rng.integers(0, 256, (4, 4, 3),
                                                   np.uint8)).resize((width, height), Image.Resampling.BICUBIC))


def encode(pixels, mode="RGB", kind="JPEG"):
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind, **(dict(quality=95) if kind == "JPEG" else {}))
    return file.getvalue()
