"""One JPEG: the part of it that is wanted, at the size that is wanted, with no more of it decoded than that takes.

libjpeg-turbo (simplejpeg) decodes, only down to the part's last row and at half or a quarter of its size where the part is large enough;
OpenCV resizes (bilinear): pip install -e '.[imagenet]'.
"""
import io
import math
import re
import threading
from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

ATTEMPTS = 10    # at a crop that lies inside the picture, before the central square is taken
LEFT_OVER = re.compile(r"\d+ extraneous bytes before marker 0xd9$")  # libjpeg's words for more rows than the header tells of

Box = tuple[int, int, int, int]  # top, left, height, width

_own = threading.local()  # of a decoding thread: its memory for pixels


def picture(jpeg: bytes, size: int, choose: Callable[[int, int], Box],
            out: UInt8[np.ndarray, "size size 3"] | None = None) -> UInt8[np.ndarray, "size size 3"]:
    """The part of an encoded picture that `choose(height, width)` names, resized to size x size pixels; written to `out` if given.

    JPEG is decoded no further than to the part's end, and smaller where the part is larger than it has to be: its inverse cosine
    transform makes pictures of half, a quarter or an eighth of their size for less. What is no RGB or grey JPEG, such as CMYK, is
    decoded by Pillow.

    Raises:
        ValueError, OSError: it cannot be decoded.
    """
    import cv2
    import simplejpeg

    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(jpeg)
    except ValueError:
        colours = "unknown"
    if colours in ("CMYK", "YCCK", "unknown"):
        with Image.open(io.BytesIO(jpeg)) as opened:
            pixels = np.asarray(opened.convert("RGB"))
        top, left, rows, columns = choose(*pixels.shape[:2])
    else:
        box = choose(height, width)
        pixels, scale = _decode(jpeg, height, width, box, min(box[2:]) / size)
        top, left, rows, columns = (round(at * scale) for at in box)
    part = pixels[top:top + max(1, rows), left:left + max(1, columns)]
    return cv2.resize(part, (size, size), out, interpolation=cv2.INTER_LINEAR)


def _decode(jpeg, height, width, box, reduction):
    """(the rows of a picture down to the end of the box, how large they are beside the whole picture's: at least 1 / reduction).

    The rows lie in memory that this thread's next picture takes. Those of a sequential JPEG's end are not even read: the header is made
    to say that the picture ends below the box, and the decoder then says that bytes are left over. It tells what it meets first, so
    all was well down to there; of any other complaint the whole picture is the judge.
    """
    import simplejpeg

    smaller = {} if reduction < 2 else dict(min_width=math.ceil(width / reduction), min_factor=2)
    end = box[0] + box[2] + 1 + int(reduction)  # the box's colours need the row below it, too
    if not hasattr(_own, "pixels") or _own.pixels.size < 3 * height * width:
        _own.pixels = np.empty(3 * height * width, np.uint8)
    at = _height_field(jpeg) if end < height else None
    if at is not None:
        ended = bytearray(jpeg)
        ended[at:at + 2] = end.to_bytes(2, "big")
        try:
            rows = simplejpeg.decode_jpeg(ended, "RGB", buffer=_own.pixels, **smaller)
        except ValueError as error:
            shape = (*simplejpeg.decode_jpeg_header(ended, **smaller)[:2], 3)
            rows = _own.pixels[:math.prod(shape)].reshape(shape) if LEFT_OVER.search(str(error)) else None
    if at is None or rows is None:
        rows = simplejpeg.decode_jpeg(jpeg, "RGB", buffer=_own.pixels, **smaller)
    return rows, round(8 * rows.shape[1] / width) / 8


def _height_field(jpeg):
    """Where a JPEG's header has the number of rows, if these are stored one after another; else None."""
    at = 2
    while at + 9 < len(jpeg) and jpeg[at] == 0xFF and jpeg[at + 1] not in (0xC2, 0xDA):  # of a progressive one; of the pixels
        if jpeg[at + 1] in (0xC0, 0xC1):
            return at + 5
        at += 1 if jpeg[at + 1] == 0xFF else 2 + int.from_bytes(jpeg[at + 2:at + 4], "big")
    return None


def random_box(area: tuple[float, float], aspect: tuple[float, float], rng: np.random.Generator, height: int, width: int) -> Box:
    """A crop of a random share of the area and random width over height, evenly placed (Szegedy et al. 2015; TF-slim).

    Where none fits in a few attempts, the largest central square.
    """
    for _ in range(ATTEMPTS):
        target, ratio = rng.uniform(*area) * height * width, rng.uniform(*aspect)
        columns, rows = round((target * ratio) ** 0.5), round((target / ratio) ** 0.5)
        if 0 < rows <= height and 0 < columns <= width:
            return int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1)), rows, columns
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side, side


def central_box(share: float, height: int, width: int) -> Box:
    """The middle, of this share of each side."""
    rows, columns = max(1, round(share * height)), max(1, round(share * width))
    return (height - rows) // 2, (width - columns) // 2, rows, columns
