"""Compares an adapter folder that emberl saved with what PEFT makes of it.

usage: python adapter.py BASE_FOLDER ADAPTER_FOLDER SCORES.jsonl

SCORES.jsonl is what `emberl score --model BASE_FOLDER --adapter ADAPTER_FOLDER --input F.jsonl
--output SCORES.jsonl` wrote for lines of {"input_ids": [...]}. Prints the largest difference of a
token's log-probability and fails above 1e-4, or when the adapter changes nothing. Needs torch,
transformers and peft; emberl needs none of them.
"""

import json
import sys

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

base, folder, scores = sys.argv[1:4]
model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
model = PeftModel.from_pretrained(model, folder)
model.eval()
# PEFT only warns of tensors that are missing or that no layer takes.
taken, written = get_peft_model_state_dict(model), load_file(f"{folder}/adapter_model.safetensors")
assert taken.keys() == written.keys(), taken.keys() ^ written.keys()
assert all(torch.equal(taken[name], written[name]) for name in taken)


def logprobs_of(ids):
    with torch.no_grad():
        logprobs = model(ids).logits[0, :-1].log_softmax(-1)
    return logprobs.gather(1, ids[0, 1:, None])[:, 0]


worst, changed, count = 0.0, 0.0, 0
for line in open(scores, encoding="utf-8"):
    record = json.loads(line)
    ids = torch.tensor([record["input_ids"]])
    expected = logprobs_of(ids)
    with model.disable_adapter():
        before = logprobs_of(ids)
    ours = torch.tensor(record["logprobs"])
    assert ours.shape == expected.shape, (ours.shape, expected.shape)
    worst = max(worst, (ours - expected).abs().max().item())
    changed = max(changed, (before - expected).abs().max().item())
    count += len(ours)
weights = sum(p.numel() for name, p in model.named_parameters() if "lora_" in name)
print(f"adapter of {weights} weights, changes log-probabilities by up to {changed:.1e}")
print(f"{count} log-probabilities, largest difference {worst:.1e}")
sys.exit(worst > 1e-4 or changed < 1e-3)
