"""Prints as JSON what TensorBoard reads from a folder of event files.

    python tools/reference/read_event_files.py FOLDER

Needs the package tensorboard, which needs neither TensorFlow nor PyTorch. A test of dl-core runs it.
"""

import json
import sys

import tensorboard
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.text.metadata import PLUGIN_NAME as TEXT

# Every event of every kind, where TensorBoard would otherwise keep a sample.
ALL = {"scalars": 0, "histograms": 0, "compressedHistograms": 1, "tensors": 0}


def main(folder):
    events = EventAccumulator(folder, size_guidance=ALL)
    events.Reload()
    tags = events.Tags()
    scalars = {tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in tags["scalars"]}
    histograms = {}
    for tag in tags["histograms"]:
        read = [(e.step, e.histogram_value) for e in events.Histograms(tag)]
        histograms[tag] = [[step, h.min, h.max, h.num, h.sum, sum(h.bucket)] for step, h in read]
    texts = {}
    for tag in events.PluginTagToContent(TEXT):
        read = [(e.step, e.tensor_proto.string_val[0].decode()) for e in events.Tensors(tag)]
        texts[tag] = read
    found = {
        "version": tensorboard.__version__,
        "scalars": scalars,
        "histograms": histograms,
        "texts": texts,
    }
    print(json.dumps(found))


main(sys.argv[1])
