"""Compares a model folder that emberl saved with what transformers makes of it.

usage: python saved_folder.py MODEL_FOLDER SCORES.jsonl

SCORES.jsonl is what `emberl score --model MODEL_FOLDER --input F.jsonl --output SCORES.jsonl` wrote
for lines of {"input_ids": [...]}. Prints the largest difference of a token's log-probability and
fails above 1e-4. Needs torch and transformers; emberl needs neither.
"""

import json
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

folder, scores = sys.argv[1:3]
model, loading = AutoModelForCausalLM.from_pretrained(
    folder, dtype=torch.float32, output_loading_info=True
)
assert not loading["missing_keys"] and not loading["unexpected_keys"], loading
tokenizer = AutoTokenizer.from_pretrained(folder)
model.eval()

worst, count = 0.0, 0
for line in open(scores, encoding="utf-8"):
    record = json.loads(line)
    ids = torch.tensor([record["input_ids"]])
    with torch.no_grad():
        logprobs = model(ids).logits[0, :-1].log_softmax(-1)
    expected = logprobs.gather(1, ids[0, 1:, None])[:, 0]
    ours = torch.tensor(record["logprobs"])
    assert ours.shape == expected.shape, (ours.shape, expected.shape)
    worst = max(worst, (ours - expected).abs().max().item())
    count += len(ours)
print(f"{type(model).__name__}, {sum(p.numel() for p in model.parameters())} weights, "
      f"{len(tokenizer)} tokens in the vocabulary")
print(f"{count} log-probabilities, largest difference {worst:.1e}")
sys.exit(worst > 1e-4)
