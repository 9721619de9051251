"""Writes crates/dl-core/tests/fixtures/progressive.jpg, a JPEG with all that makes its end hard to find.

    python tools/reference/image_files.py

It is progressive, so it has many scans; and its EXIF segment holds a thumbnail, which is a JPEG with
an end marker of its own. The pixels are the slope (8 y, 5 x, 255 - 6 x) of 24 rows and 32 columns.
"""

import io
import pathlib

import numpy
from PIL import Image


def main():
    y, x = numpy.ogrid[:24, :32]
    planes = [8 * y + 0 * x, 5 * x + 0 * y, 255 - 6 * x + 0 * y]
    image = Image.fromarray(numpy.stack(planes, axis=2).astype(numpy.uint8))
    thumbnail = io.BytesIO()
    image.resize((4, 3)).save(thumbnail, "jpeg")
    # No TIFF structure: what matters here is a segment that contains an end marker.
    segment = b"Exif\0\0" + thumbnail.getvalue()
    root = pathlib.Path(__file__).resolve().parents[2]
    path = root / "crates/dl-core/tests/fixtures/progressive.jpg"
    image.save(path, "jpeg", quality=90, subsampling=0, progressive=True, exif=segment)


if __name__ == "__main__":
    main()
