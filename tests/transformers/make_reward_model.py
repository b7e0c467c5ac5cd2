"""Records what TRL's RewardTrainer and transformers compute of a tiny reward model.

usage: python make_reward_model.py ORACLE_FOLDER

Starts from ORACLE_FOLDER/steps/base with a random score for a head and writes ORACLE_FOLDER/reward_model/:
one JSON file a case with settings, data, losses, scores and norms, and a safetensors file with the ids
that were fed, the score that training started from and the gradients. Needs torch, transformers, trl,
datasets and safetensors; emberl needs none of them.
"""

import json
import os
import sys
import tempfile

import torch
from datasets import Dataset
from safetensors.torch import save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from trl import RewardConfig, RewardTrainer

oracle = sys.argv[1]
base = os.path.join(oracle, "steps", "base")
out = os.path.join(oracle, "reward_model")
os.makedirs(out, exist_ok=True)
torch.set_num_threads(1)

LR = 1e-3


def chat(prompt, answer):
    return [{"role": "user", "content": prompt}], [{"role": "assistant", "content": answer}]


def pair(prompt, chosen, rejected, margin=None):
    question, good = chat(prompt, chosen)
    _, bad = chat(prompt, rejected)
    line = {"prompt": question, "chosen": good, "rejected": bad}
    return line if margin is None else {**line, "margin": margin}


CHATS = [
    pair("1+1=?", "<answer>2</answer>", "<answer>3</answer>", 0.5),
    pair("name?", "I'm sure.", "no", 0.0),
    pair("2+5=?", "7", "It is not 7, it is 8", 1.25),
    pair("你好", "你好！", "Hello", -0.25),
]
TEXTS = [
    {"prompt": "1+1=", "chosen": " 2", "rejected": " 3 or so"},
    {"prompt": "Name a colour:", "chosen": " green is one", "rejected": " no"},
]
LABELS = [
    ("1+1=", " 2", True),
    ("1+1=", " 11, what else?", False),
    ("How do I ask?", " Politely.", True),
]


def fresh_model():
    torch.manual_seed(7)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1, dtype=torch.float32)
    torch.nn.init.normal_(model.score.weight, std=0.5)
    return model


def write(name, record, tensors):
    tensors = {key: value.detach().clone().contiguous() for key, value in tensors.items()}
    save_file(tensors, os.path.join(out, f"{name}.safetensors"))
    with open(os.path.join(out, f"{name}.json"), "w", encoding="utf-8") as file:
        json.dump(record, file, indent=1, ensure_ascii=False)
        file.write("\n")


class Recorder(RewardTrainer):
    """Notes what is fed, the scores, the losses and the gradients before clipping."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        self.fed = {key: value for key, value in inputs.items() if key != "use_cache"}
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        self.loss, self.scores = loss.item(), outputs.logits.detach()[:, 0]
        return (loss, outputs) if return_outputs else loss

    def training_step(self, model, inputs, num_items_in_batch=None):
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
        return loss


def pairwise(name, data, center, all_gradients):
    model = fresh_model()
    tokenizer = AutoTokenizer.from_pretrained(base)
    start = model.score.weight.detach().clone()
    with tempfile.TemporaryDirectory() as folder:
        args = RewardConfig(
            output_dir=folder, per_device_train_batch_size=len(data), max_steps=1, learning_rate=LR,
            lr_scheduler_type="constant", center_rewards_coefficient=center, max_length=None,
            report_to=[], save_strategy="no", logging_steps=1, bf16=False, fp16=False, use_cpu=True,
            gradient_checkpointing=False, disable_dropout=True, weight_decay=0.0, seed=3,
        )
        trainer = Recorder(model=model, args=args, train_dataset=Dataset.from_list(data),
                           processing_class=tokenizer)
        trainer.train()
    log = trainer.state.log_history[0]
    fed, weights = trainer.fed, dict(model.named_parameters())
    with torch.no_grad():
        after = model.eval()(fed["input_ids"], attention_mask=fed["attention_mask"]).logits[:, 0]
    kept = weights if all_gradients else ["score.weight", "model.norm.weight"]
    tensors = {"input_ids": fed["input_ids"], "attention_mask": fed["attention_mask"],
               "init.score.weight": start, "scores": trainer.scores, "scores_after": after}
    tensors |= {f"grad.{key}": trainer.gradients[key] for key in kept}
    if "margin" in fed:
        tensors["margin"] = fed["margin"]
    record = {
        "trainer": "trl.RewardTrainer", "data": data, "pad_token_id": model.config.pad_token_id,
        "settings": {"learning_rate": LR, "max_grad_norm": args.max_grad_norm,
                     "adam_beta1": args.adam_beta1, "adam_beta2": args.adam_beta2,
                     "adam_epsilon": args.adam_epsilon, "center_rewards_coefficient": center or 0.0},
        "loss": trainer.loss, "log": {key: log[key] for key in
                                      ("grad_norm", "accuracy", "margin", "mean_reward")},
    }
    write(name, record, tensors)


def pointwise(name, data):
    """Binary cross-entropy by torch on transformers' scores; the answers as TRL would put them."""
    model = fresh_model()
    tokenizer = AutoTokenizer.from_pretrained(base)
    start = model.score.weight.detach().clone()
    model.config.pad_token_id = tokenizer.pad_token_id
    texts = [prompt + answer + tokenizer.eos_token for prompt, answer, _ in data]
    fed = tokenizer(texts, return_tensors="pt", padding=True, padding_side="right")
    scores = model(fed["input_ids"], attention_mask=fed["attention_mask"]).logits[:, 0]
    labels = torch.tensor([float(label) for _, _, label in data])
    loss = torch.nn.functional.binary_cross_entropy_with_logits(scores, labels)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), float("inf"))
    gradients = {name: p.grad for name, p in model.named_parameters()}
    record = {
        "trainer": "torch.binary_cross_entropy_with_logits",
        "data": [{"prompt": prompt, "completion": answer, "label": label}
                 for prompt, answer, label in data],
        "pad_token_id": model.config.pad_token_id, "loss": loss.item(),
        "log": {"grad_norm": norm.item()},
    }
    write(name, record, {
        "input_ids": fed["input_ids"], "attention_mask": fed["attention_mask"],
        "init.score.weight": start, "scores": scores,
        **{f"grad.{key}": gradients[key] for key in ("score.weight", "model.norm.weight")},
    })


pairwise("pairs_margin_centered", CHATS, 0.01, True)
pairwise("pairs_text", TEXTS, None, False)
pointwise("labels", LABELS)
with tempfile.TemporaryDirectory() as folder:
    fresh_model().save_pretrained(folder)
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
        config = file.read()
    with open(os.path.join(out, "config.json"), "w", encoding="utf-8") as file:
        file.write(config)
