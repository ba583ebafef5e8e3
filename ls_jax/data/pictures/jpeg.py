"""Cropping, decoding and resizing one JPEG. Only the necessary part of it is decoded.

libjpeg-turbo (simplejpeg) decodes the rows down to the crop's last one, and at half or a quarter of the size if the
crop is large. OpenCV resizes (bilinear). Both come with pip install -e '.[imagenet]'.
"""
import io
import math
import re
import threading
from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

ATTEMPTS = 10    # to draw a crop that lies inside the image, before the central square is taken
LEFT_OVER = re.compile(r"\d+ extraneous bytes before marker 0xd9$")  # libjpeg's warning of surplus rows

Box = tuple[int, int, int, int]  # top, left, height, width

_own = threading.local()  # each decoding thread's memory for pixels


def picture(jpeg: bytes, size: int, choose: Callable[[int, int], Box],
            out: UInt8[np.ndarray, "size size 3"] | None = None) -> UInt8[np.ndarray, "size size 3"]:
    """A crop of an encoded image, resized to size x size pixels.

    A JPEG is decoded only down to the crop's end. A large crop is decoded at half, a quarter or an eighth of the size,
    which costs less. Pillow decodes everything that is no RGB or grey JPEG, such as CMYK.

    Args:
        jpeg: the file's content.
        size: pixels a side.
        choose: the crop's box in an image of (height, width).
        out: where to write the result.

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
    """(the image's rows down to the end of the box, the scale at which they are decoded: at least 1 / reduction).

    The rows are in memory that this thread's next image overwrites. The end of a sequential JPEG is not even read: the
    header is changed so that the image ends below the box, and the decoder then warns of bytes that are left over. It
    reports the first problem only, so everything before was right. After any other warning the whole image is decoded.
    """
    import simplejpeg

    smaller = {} if reduction < 2 else dict(min_width=math.ceil(width / reduction), min_factor=2)
    end = box[0] + box[2] + 1 + int(reduction)  # the colours at the box's lower edge need the row below it
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
    """The offset of the number of rows in the header of a sequential JPEG; None for other files."""
    at = 2
    while at + 9 < len(jpeg) and jpeg[at] == 0xFF and jpeg[at + 1] not in (0xC2, 0xDA):  # progressive; pixels
        if jpeg[at + 1] in (0xC0, 0xC1):
            return at + 5
        at += 1 if jpeg[at + 1] == 0xFF else 2 + int.from_bytes(jpeg[at + 2:at + 4], "big")
    return None


def random_box(area: tuple[float, float], aspect: tuple[float, float], rng: np.random.Generator, height: int,
               width: int) -> Box:
    """A crop with random fraction of the area, aspect ratio and place, all uniform (Szegedy et al. 2015; TF-slim).

    If none of ATTEMPTS fits into the image, it is the largest central square.
    """
    for _ in range(ATTEMPTS):
        target, ratio = rng.uniform(*area) * height * width, rng.uniform(*aspect)
        columns, rows = round((target * ratio) ** 0.5), round((target / ratio) ** 0.5)
        if 0 < rows <= height and 0 < columns <= width:
            return int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1)), rows, columns
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side, side


def central_box(share: float, height: int, width: int) -> Box:
    """The central crop with this fraction of each side."""
    rows, columns = max(1, round(share * height)), max(1, round(share * width))
    return (height - rows) // 2, (width - columns) // 2, rows, columns
