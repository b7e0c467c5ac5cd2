"""Compares a reward model's folder that emberl saved with what transformers makes of it.

usage: python reward_model.py MODEL_FOLDER SCORES.jsonl

SCORES.jsonl is what `emberl score --model MODEL_FOLDER --input F.jsonl --output SCORES.jsonl` wrote for
lines of {"input_ids": [...]}. Scores all lines as one padded batch, prints the largest difference and
fails above 1e-4. Needs torch and transformers; emberl needs neither.
"""

import json
import sys

import torch
from transformers import AutoModelForSequenceClassification

folder, scores = sys.argv[1:3]
model, loading = AutoModelForSequenceClassification.from_pretrained(
    folder, dtype=torch.float32, output_loading_info=True
)
assert not loading["missing_keys"] and not loading["unexpected_keys"], loading
assert model.config.num_labels == 1, model.config
pad = model.config.pad_token_id
assert pad is not None, "transformers finds the end of a text by the padding token"
model.eval()

records = [json.loads(line) for line in open(scores, encoding="utf-8")]
longest = max(len(record["input_ids"]) for record in records)
ids = torch.tensor([r["input_ids"] + [pad] * (longest - len(r["input_ids"])) for r in records])
with torch.no_grad():
    expected = model(ids, attention_mask=(ids != pad).long()).logits[:, 0]
ours = torch.tensor([record["score"] for record in records])
worst = (ours - expected).abs().max().item()
print(f"{type(model).__name__}: {len(records)} scores from {ours.min():.3f} to {ours.max():.3f}, "
      f"largest difference {worst:.1e}")
sys.exit(worst > 1e-4)
