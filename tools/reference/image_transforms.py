"""Writes crates/dl-core/tests/fixtures/image_transforms.json: torchvision's transforms on PIL images.

    python tools/reference/image_transforms.py

The source image is a formula, so that the Rust test can make the same one: value
(31 y + 17 x + 101 c + (x y) // 3) mod 256, which has edges, slopes and wrap-arounds.
"""

import json
import pathlib

import numpy
import PIL
import torch
import torchvision
from PIL import Image
from torchvision.transforms import functional as F


def source(height, width, channels):
    y, x, c = numpy.ogrid[:height, :width, :channels]
    values = (31 * y + 17 * x + 101 * c + (x * y) // 3) % 256
    pixels = values.astype(numpy.uint8)
    return Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)


def case(name, size, arguments, image):
    return {
        "transform": name,
        "from": size,
        "arguments": arguments,
        "to": [image.height, image.width],
        "pixels": numpy.asarray(image).reshape(-1).tolist(),
    }


def main():
    cases = []
    # Down by odd factors, up, one side only, a single row, and no change at all.
    for size, to in [
        ((23, 37, 3), (8, 8)),
        ((28, 28, 1), (32, 32)),
        ((5, 7, 3), (11, 9)),
        ((40, 10, 1), (10, 10)),
        ((10, 40, 3), (10, 7)),
        ((1, 9, 1), (3, 2)),
        ((64, 64, 1), (7, 5)),
        ((6, 6, 3), (6, 6)),
    ]:
        cases.append(case("resize", size, to, F.resize(source(*size), to)))
    for size, short in [((23, 37, 1), 9), ((37, 23, 1), 9), ((12, 13, 3), 15)]:
        cases.append(case("resize_shorter", size, [short], F.resize(source(*size), short)))
    # Every remainder of the margin by 4, where rounding to even shows, and smaller images, which are padded.
    for size, to in [
        ((11, 12, 1), (8, 8)),
        ((13, 14, 1), (8, 8)),
        ((15, 9, 3), (8, 8)),
        ((5, 6, 1), (8, 8)),
        ((5, 20, 1), (8, 7)),
        ((20, 7, 3), (8, 10)),
    ]:
        cases.append(case("center_crop", size, to, F.center_crop(source(*size), to)))
    cases.append(case("grayscale", (9, 11, 3), [], F.to_grayscale(source(9, 11, 3))))

    image = F.to_tensor(source(4, 5, 3))
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    normalized = F.normalize(image, mean, std)
    fixture = {
        "versions": {
            "pillow": PIL.__version__,
            "torchvision": torchvision.__version__.split("+")[0],
            "torch": torch.__version__.split("+")[0],
        },
        "cases": cases,
        "normalize": {
            "from": [4, 5, 3],
            "bits": normalized.numpy().view(numpy.uint32).reshape(-1).tolist(),
        },
    }
    root = pathlib.Path(__file__).resolve().parents[2]
    path = root / "crates/dl-core/tests/fixtures/image_transforms.json"
    path.write_text(json.dumps(fixture) + "\n")


if __name__ == "__main__":
    main()
