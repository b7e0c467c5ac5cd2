"""A whole GRPO step by TRL's GRPOTrainer with its transformers back end."""

import importlib.util
import json
import statistics
import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CURVE = HERE.parent / "fixtures/oracle/curve"
GROUP = 8
CURVE_STEPS = 16
STEPS = 4

for package in ("datasets", "pandas", "pyarrow"):
    if importlib.util.find_spec(package) is None:
        sys.path.append(str(HERE / "stubs"))
        break

import torch  # noqa: E402: what is missing must be on the path before
import torch_work  # noqa: E402
from datasets import Dataset  # noqa: E402
from transformers import AutoTokenizer, PrinterCallback  # noqa: E402
from trl import GRPOConfig, GRPOTrainer  # noqa: E402


def accuracy(completions: list[Any], answer: list[str], **_: Any) -> list[float]:
    """1 where the last answer is the right one."""
    found = [c[0]["content"].rpartition("<answer>")[2].partition("</answer>")[0].strip()
             for c in completions]
    return [float(text == right) for text, right in zip(found, answer, strict=True)]


def form(completions: list[Any], **_: Any) -> list[float]:
    """1 where all tags are there."""
    tags = ("<think>", "</think><answer>", "</answer>")
    return [float(all(tag in c[0]["content"] for tag in tags)) for c in completions]


def spread(completion_ids: list[list[int]], **_: Any) -> list[float]:
    """A reward that differs inside a group and costs nothing."""
    return [float(sum(ids) % 8) for ids in completion_ids]


def prompt(index: int, tokens: int) -> str:
    """A text that the curve's tokenizer makes so many ids of, another for every index."""
    head = "".join(f"{index // 10 ** place % 10}#" for place in range(3))
    return (head + "#" * tokens)[:tokens]


def config(args: Namespace, folder: str, **settings: Any) -> GRPOConfig:
    """What the curve's steps and those of one length share."""
    return GRPOConfig(
        output_dir=folder, use_cpu=args.device == "cpu", bf16=args.dtype == "bfloat16",
        gradient_checkpointing=False, report_to="none", save_strategy="no", logging_steps=1,
        disable_tqdm=True, lr_scheduler_type="constant", beta=0.0, num_generations=GROUP,
        temperature=1.0, loss_type="dapo",
        cache_implementation=args.cache and args.cache.split()[0], **settings)


def run(trainer: GRPOTrainer, steps: int) -> dict[str, Any]:
    """Medians of the steps but the first."""
    trainer.remove_callback(PrinterCallback)
    cpu = time.process_time()
    trainer.train()
    cpu = (time.process_time() - cpu) / steps
    logs = [line for line in trainer.state.log_history if "step_time" in line]
    tokens = [line["completions/mean_length"] for line in logs[1:]]
    times = [line["step_time"] for line in logs[1:]]
    return {"seconds": statistics.median(times), "cpu_seconds": cpu,
            "mean_tokens": statistics.median(tokens)}


def curve(args: Namespace) -> dict[str, Any]:
    """Steps on the recorded curve's task."""
    torch.set_num_threads(args.threads)
    lines = (CURVE / "train.jsonl").read_text(encoding="utf-8").splitlines()
    with tempfile.TemporaryDirectory() as folder:
        settings = config(args, folder, learning_rate=1e-4, max_steps=CURVE_STEPS,
                          per_device_train_batch_size=64, max_completion_length=40,
                          reward_weights=[1.0, 0.2])
        trainer = GRPOTrainer(
            model=str(CURVE / "base"), reward_funcs=[accuracy, form], args=settings,
            train_dataset=Dataset.from_list([json.loads(line) for line in lines]))
        return run(trainer, CURVE_STEPS)


def one_length(args: Namespace, shape: list[int], batch: int) -> dict[str, Any]:
    """Steps of prompts and completions of one length, `batch` sequences a backward pass."""
    rows, prompt_tokens, completion = shape
    model = torch_work.load(args, training=True)
    tokenizer = AutoTokenizer.from_pretrained(CURVE / "base", padding_side="left")
    prompts = [{"prompt": prompt(index, prompt_tokens)} for index in range(rows // GROUP * STEPS)]
    with tempfile.TemporaryDirectory() as folder:
        # The end token is never drawn before the last.
        settings = config(args, folder, learning_rate=1e-6, max_steps=STEPS,
                          per_device_train_batch_size=batch,
                          gradient_accumulation_steps=rows // batch,
                          max_completion_length=completion,
                          generation_kwargs={"min_new_tokens": completion})
        trainer = GRPOTrainer(model=model, reward_funcs=[spread], args=settings,
                              processing_class=tokenizer, train_dataset=Dataset.from_list(prompts))
        result = run(trainer, STEPS)
    assert result["mean_tokens"] == completion, result
    return result | {"batch": batch}


def grpo(args: Namespace, shape: list[int]) -> dict[str, Any]:
    """A step; where memory does not suffice, the batch of the backward pass is halved."""
    if not shape:
        return curve(args)
    return torch_work.fitting(shape[0], lambda batch: one_length(args, shape, batch))
