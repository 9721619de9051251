"""Cuts a class-balanced part out of Fashion-MNIST; the standard library is enough.

    python3 tools/data/fashion_mnist_subset.py FROM TO

FROM and TO are folders of {train,t10k}-{images-idx3,labels-idx1}-ubyte.gz. Takes the first 200
images of each class to train and the first 100 to test, in the order of the files. The result
depends on FROM only (gzip without time and name).
"""

import gzip
import struct
import sys
from pathlib import Path

PER_CLASS = {"train": 200, "t10k": 100}
CLASSES = 10


def read(path, magic):
    data = gzip.decompress(path.read_bytes())
    found, count = struct.unpack(">II", data[:8])
    assert found == magic, f"{path}: magic number {found}, wanted {magic}"
    return data, count


def write(path, data):
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as file:
        file.write(data)


def subset(source, target, split):
    images, count = read(source / f"{split}-images-idx3-ubyte.gz", 0x803)
    labels, labelled = read(source / f"{split}-labels-idx1-ubyte.gz", 0x801)
    rows, columns = struct.unpack(">II", images[8:16])
    size = rows * columns
    assert count == labelled and len(images) == 16 + count * size and len(labels) == 8 + count
    left = [PER_CLASS[split]] * CLASSES
    chosen = []
    for i, label in enumerate(labels[8:]):
        if left[label] > 0:
            left[label] -= 1
            chosen.append(i)
    assert not any(left), f"{split}: too few images of some class: {left} left to take"
    pixels = b"".join(images[16 + i * size : 16 + (i + 1) * size] for i in chosen)
    header = struct.pack(">IIII", 0x803, len(chosen), rows, columns)
    write(target / f"{split}-images-idx3-ubyte.gz", header + pixels)
    header = struct.pack(">II", 0x801, len(chosen))
    write(target / f"{split}-labels-idx1-ubyte.gz", header + bytes(labels[8 + i] for i in chosen))


source, target = Path(sys.argv[1]), Path(sys.argv[2])
target.mkdir(parents=True, exist_ok=True)
for split in PER_CLASS:
    subset(source, target, split)
