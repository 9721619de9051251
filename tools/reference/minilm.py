"""all-MiniLM-L6-v2 on two token sequences in transformers, for crates/dl-transfer/tests/minilm.rs.

The second sequence is padded. The JSON holds the ids and the features of every token that is not
padding, and the gradient of the sum of their squares with respect to two weights, as norms.

Run: python tools/reference/minilm.py MODEL_FOLDER      (torch 2.15, transformers 5.23)
"""

import json
import pathlib
import sys

import torch
import transformers

OUT = pathlib.Path(__file__).parents[2] / "crates/dl-transfer/tests/fixtures/minilm.json"

IDS = [[101, 2023, 3185, 2001, 6659, 999, 102], [101, 1037, 6429, 2143, 102, 0, 0]]


def main(folder):
    model = transformers.BertModel.from_pretrained(folder).double().eval()
    ids = torch.tensor(IDS)
    seen = (ids != 0).long()
    features = model(ids, attention_mask=seen).last_hidden_state
    shown = features[seen.bool()]
    (shown**2).sum().backward()
    parameters = dict(model.named_parameters())
    names = ["embeddings.word_embeddings.weight", "encoder.layer.3.intermediate.dense.weight"]
    fixture = {
        "torch": torch.__version__.split("+")[0],
        "transformers": transformers.__version__,
        "ids": IDS,
        "features": [[round(x, 9) for x in token.tolist()[:24]] for token in shown],
        "norms": [token.norm().item() for token in shown],
        "gradient_norms": {name: parameters[name].grad.norm().item() for name in names},
    }
    OUT.write_text(json.dumps(fixture, indent=1) + "\n")
    print(f"{len(shown)} tokens")


if __name__ == "__main__":
    main(sys.argv[1])
