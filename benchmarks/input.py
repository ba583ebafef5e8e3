"""Pictures a second of one core's time: decode a JPEG, take a random crop, resize it to 299x299; decoders in turns, the
same crops.

    PYTHONPATH=. python benchmarks/input.py FOLDER_OF_JPEGS [--seconds 5] [--repetitions 5] [--pictures 20000]

Pillow and OpenCV decode the whole picture, TensorFlow (`tf.io.decode_and_crop_jpeg`) the crop, ours
(`data.pictures.jpeg`) down to the crop's last row. TensorFlow's own resizing is slow, so its decoder is also timed with
OpenCV's. What is not installed is left out, and said. Median of the repetitions, by the processor time of this process,
so that other work on the machine matters less.

Then so many pictures are decoded in batches by all threads, as a run does, and the process's resident memory is printed
on the way.
"""
import argparse
import functools
import io
import os
import pathlib
import statistics
import time

import cv2
import ml_collections
import numpy as np
from PIL import Image

from ls_jax.data.pictures import stream
from ls_jax.data.pictures.jpeg import picture, random_box

SIZE, AREA, ASPECT, BATCH = 299, (0.05, 1.0), (0.75, 1.33), 64


def pillow(jpeg, box):
    picture = Image.open(io.BytesIO(jpeg)).convert("RGB")
    top, left, rows, columns = box(*picture.size[::-1])
    return np.asarray(picture.crop((left, top, left + columns, top + rows)).resize((SIZE, SIZE),
                                                                                   Image.Resampling.BILINEAR))


def opencv(jpeg, box):
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
    top, left, rows, columns = box(*picture.shape[:2])
    return cv2.resize(picture[top:top + rows, left:left + columns], (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)


def ours(jpeg, box):
    return picture(jpeg, SIZE, box)


def tensorflow():
    """Two decoders: TensorFlow's, and with OpenCV's resizing."""
    import tensorflow as tf
    tf.config.set_visible_devices([], "GPU")
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)

    def part(jpeg, box):
        height, width, _ = tf.io.extract_jpeg_shape(jpeg).numpy()
        return tf.io.decode_and_crop_jpeg(jpeg, box(int(height), int(width)), channels=3)

    return {"TensorFlow": lambda jpeg, box: tf.cast(tf.image.resize(part(jpeg, box), (SIZE, SIZE)), tf.uint8).numpy(),
            "TensorFlow, resized by OpenCV": lambda jpeg, box: cv2.resize(part(jpeg, box).numpy(), (SIZE, SIZE))}


def rate(decode, jpegs, seconds):
    """Pictures a second; the crops are those of (seed, pass, picture) and so the same for every decoder."""
    done, start = 0, time.process_time()
    while time.process_time() - start < seconds:
        number = done % len(jpegs)
        decode(jpegs[number],
               functools.partial(random_box, AREA, ASPECT, stream.generator(0, done // len(jpegs), number)))
        done += 1
    return done / (time.process_time() - start)


def compare(jpegs, seconds, repetitions):
    decoders = {"Pillow": pillow, "OpenCV": opencv, "ls_jax": ours}
    try:
        decoders |= tensorflow()
    except ImportError as error:
        print(f"TensorFlow is left out: {error}")
    rates = {name: [] for name in decoders}
    for _ in range(repetitions):
        for name, decode in decoders.items():
            rates[name].append(rate(decode, jpegs, seconds))
    print(f"{len(jpegs)} pictures, load {os.getloadavg()[0]:.1f}, median of {repetitions} x {seconds:g} s")
    print("|decoder|images per second of a core|ls_jax / it|\n|---|---|---|")
    for name, found in rates.items():
        median = statistics.median(found)
        print(f"|{name}|{median:.0f}|{statistics.median(rates['ls_jax']) / median:.2f}|")


class Records:
    """The pictures again and again, in place of a build's records."""

    def __init__(self, jpegs, count):
        self.name, self.labels, self.jpegs = "train", np.zeros(count, np.int32), jpegs

    def read(self, ids):
        return [{"image": self.jpegs[id % len(self.jpegs)], "label": 0} for id in ids]


def memory(jpegs, count):
    """Prints resident MiB after some and after all of so many pictures."""
    crop = ml_collections.FrozenConfigDict(dict(area=AREA, aspect=ASPECT, central=0.875))
    pictures = stream.Pictures(Records(jpegs, count), SIZE, crop)
    marks = [count // 10, count // 4, count // 2, count]
    for start in range(0, count, BATCH):
        pictures.decode(np.arange(start, min(start + BATCH, count)), lambda index: stream.generator(0, 0, index))
        if start + BATCH >= marks[0]:
            pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
            print(f"after {marks.pop(0):,} pictures {pages * os.sysconf('SC_PAGESIZE') / 2**20:.0f} MiB are resident")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--pictures", type=int, default=20_000)
    arguments = parser.parse_args()
    jpegs = [path.read_bytes() for path in sorted(arguments.folder.iterdir())
             if path.suffix.lower() in (".jpg", ".jpeg")]
    cv2.setNumThreads(1)
    if hasattr(os, "sched_setaffinity"):
        cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {max(cores)})  # one core
    if arguments.repetitions:
        compare(jpegs, arguments.seconds, arguments.repetitions)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    if arguments.pictures:
        memory(jpegs, arguments.pictures)


if __name__ == "__main__":
    main()
