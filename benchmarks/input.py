"""Pictures a second of one core's time: decode a JPEG, take a random crop, resize it to 299x299; decoders in turns, the same crops.

    PYTHONPATH=. python benchmarks/input.py FOLDER_OF_JPEGS [--seconds 5] [--repetitions 5]

Pillow and OpenCV decode the whole picture, TensorFlow (`tf.io.decode_and_crop_jpeg`) the crop's rows, ours (`ls_jax.data.stream`) the
whole at a reduced scale where the crop allows. What is not installed is left out, and said. The median of the repetitions, by the
processor time of this process, so that other work on the machine matters less.
"""
import argparse
import functools
import io
import os
import pathlib
import statistics
import time

import cv2
import numpy as np
from PIL import Image

from ls_jax.data import stream

SIZE, AREA, ASPECT = 299, (0.05, 1.0), (0.75, 1.33)


def pillow(jpeg, box):
    picture = Image.open(io.BytesIO(jpeg)).convert("RGB")
    top, left, rows, columns = box(*picture.size[::-1])
    return np.asarray(picture.crop((left, top, left + columns, top + rows)).resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def opencv(jpeg, box):
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
    top, left, rows, columns = box(*picture.shape[:2])
    return cv2.resize(picture[top:top + rows, left:left + columns], (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)


def ours(jpeg, box):
    return stream.picture(jpeg, SIZE, box)


def tensorflow():
    import tensorflow as tf
    tf.config.set_visible_devices([], "GPU")
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)

    def decode(jpeg, box):
        height, width, _ = (int(size) for size in tf.io.extract_jpeg_shape(jpeg))
        part = tf.io.decode_and_crop_jpeg(jpeg, box(height, width), channels=3)
        return tf.cast(tf.image.resize(part, (SIZE, SIZE)), tf.uint8).numpy()

    return decode


def rate(decode, jpegs, seconds):
    """Pictures a second; the crops are those of (seed, pass, picture) and so the same for every decoder."""
    done, start = 0, time.process_time()
    while time.process_time() - start < seconds:
        number = done % len(jpegs)
        decode(jpegs[number], functools.partial(stream.random_box, AREA, ASPECT, stream.generator(0, done // len(jpegs), number)))
        done += 1
    return done / (time.process_time() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # one core
    jpegs = [path.read_bytes() for path in sorted(arguments.folder.iterdir()) if path.suffix.lower() in (".jpg", ".jpeg")]
    decoders = {"Pillow": pillow, "OpenCV": opencv, "ls_jax": ours}
    try:
        decoders["TensorFlow"] = tensorflow()
    except ImportError as error:
        print(f"TensorFlow is left out: {error}")
    rates = {name: [] for name in decoders}
    for _ in range(arguments.repetitions):
        for name, decode in decoders.items():
            rates[name].append(rate(decode, jpegs, arguments.seconds))
    print(f"{len(jpegs)} pictures, load {os.getloadavg()[0]:.1f}, median of {arguments.repetitions} x {arguments.seconds:g} s")
    print("|decoder|images per second of a core|ls_jax / it|\n|---|---|---|")
    for name, found in rates.items():
        print(f"|{name}|{statistics.median(found):.0f}|{statistics.median(rates['ls_jax']) / statistics.median(found):.2f}|")


if __name__ == "__main__":
    main()
