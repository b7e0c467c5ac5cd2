"""Measures torch, transformers and TRL on the work of examples/throughput.rs, and both in turn.

usage: python peers.py compare THROUGHPUT [--cases decode,train] [--rounds 3]
       python peers.py torch CASE [--shape 64x128+128]
       both: [--model FOLDER] [--threads 4] [--device cpu|cuda] [--dtype float32|bfloat16]

THROUGHPUT is the example's binary. `compare` runs one process after the other, emberl, then torch,
`rounds` times, prints each result as a JSON line on stderr and a table of medians and ratios. Every
process counts the median of three repeats. `generate` takes the faster of a dynamic and a static cache.
With bfloat16 torch's weights are that when it generates, and it trains by autocast; emberl computes
as its device does. Needs torch, transformers and, for `grpo`, TRL.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

CURVE = Path(__file__).resolve().parent.parent / "fixtures/oracle/curve"
SHAPES = {"prefill": "64x128+128", "decode": "64x128+128", "rollout": "64x128+128",
          "score": "16x128+128", "train": "16x128+128", "grpo": "curve"}
SMALL = {"hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 4,
         "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 512,
         "max_position_embeddings": 4096, "tie_word_embeddings": True}
GROUP = 8
GRPO_STEPS = 16
REPEATS = 3


def load(args: Namespace, training: bool) -> Any:
    """The model: of a folder, its weights random if it has none, or the small one."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, Qwen2Config

    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    dtype = torch.float32 if training else getattr(torch, args.dtype)
    if args.model and (args.model / "model.safetensors").exists():
        model = AutoModelForCausalLM.from_pretrained(args.model, dtype=dtype)
    else:
        config = AutoConfig.from_pretrained(args.model) if args.model else Qwen2Config(**SMALL)
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    return model.to(args.device).train(training)


def timed(args: Namespace, work: Callable[[], Any]) -> dict[str, float]:
    """Medians of the wall and CPU seconds of `work`, after one run that is not counted."""
    import torch

    walls, cpus = [], []
    for _ in range(1 + REPEATS):
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        if args.device == "cuda":
            torch.cuda.synchronize()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return {"seconds": statistics.median(walls[1:]), "cpu_seconds": statistics.median(cpus[1:])}


def generation(args: Namespace, shape: list[int], group: int, tokens: int) -> dict[str, Any]:
    """Sampling `tokens` tokens a row with the faster cache; groups repeat their prompt."""
    import torch

    rows, prompt, _ = shape
    model = load(args, training=False)
    ids = torch.randint(model.config.vocab_size, (-(-rows // group), prompt), device=args.device)
    ids = ids.repeat_interleave(group, 0)[:rows]
    asked = {"do_sample": True, "max_new_tokens": tokens, "min_new_tokens": tokens, "top_k": 0,
             "attention_mask": torch.ones_like(ids), "pad_token_id": 0}

    def results() -> Any:
        for cache in ("dynamic", "static"):
            result = timed(args, lambda: model.generate(ids, cache_implementation=cache, **asked))
            yield result | {"cache": cache}

    return min(results(), key=lambda result: result["seconds"])


def decoding(args: Namespace, shape: list[int]) -> dict[str, Any]:
    """A generation without its prefill."""
    first, whole = generation(args, shape, 1, 1), generation(args, shape, 1, shape[2])
    return whole | {key: whole[key] - first[key] for key in ("seconds", "cpu_seconds")}


def scoring(args: Namespace, shape: list[int]) -> dict[str, Any]:
    """Log-probabilities of the completions."""
    import torch

    rows, prompt, completion = shape
    model = load(args, training=False)
    ids = torch.randint(model.config.vocab_size, (rows, prompt + completion), device=args.device)

    @torch.no_grad()
    def score() -> Any:
        logits = model(ids, logits_to_keep=completion + 1).logits[:, :-1].float()
        return logits.log_softmax(-1).gather(2, ids[:, prompt:, None])

    return timed(args, score)


def training(args: Namespace, shape: list[int]) -> dict[str, Any]:
    """A step of AdamW on all tokens, with a clipped gradient."""
    import torch

    rows, prompt, completion = shape
    model = load(args, training=True)
    ids = torch.randint(model.config.vocab_size, (rows, prompt + completion), device=args.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, weight_decay=0.0)
    low = args.dtype != "float32"
    autocast = torch.autocast(args.device, torch.bfloat16) if low else contextlib.nullcontext()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with autocast:
            loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return timed(args, step)


def accuracy(completions: list[Any], answer: list[str], **_: Any) -> list[float]:
    """1 where the last answer is the right one."""
    found = [c[0]["content"].rpartition("<answer>")[2].partition("</answer>")[0].strip()
             for c in completions]
    return [float(text == right) for text, right in zip(found, answer, strict=True)]


def form(completions: list[Any], **_: Any) -> list[float]:
    """1 where all tags are there."""
    tags = ("<think>", "</think><answer>", "</answer>")
    return [float(all(tag in c[0]["content"] for tag in tags)) for c in completions]


def grpo(args: Namespace, _: list[int]) -> dict[str, Any]:
    """A step of TRL's GRPOTrainer on the recorded curve's task."""
    import torch
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl import GRPOConfig, GRPOTrainer

    torch.set_num_threads(args.threads)
    lines = (CURVE / "train.jsonl").read_text(encoding="utf-8").splitlines()
    with tempfile.TemporaryDirectory() as folder:
        config = GRPOConfig(
            output_dir=folder, use_cpu=args.device == "cpu", bf16=args.dtype == "bfloat16",
            gradient_checkpointing=False, report_to="none", save_strategy="no", logging_steps=1,
            disable_tqdm=True, lr_scheduler_type="constant", learning_rate=1e-4, beta=0.0,
            max_steps=GRPO_STEPS, per_device_train_batch_size=64, num_generations=8,
            max_completion_length=40, temperature=1.0, loss_type="dapo",
            reward_weights=[1.0, 0.2])
        trainer = GRPOTrainer(
            model=str(CURVE / "base"), reward_funcs=[accuracy, form], args=config,
            train_dataset=Dataset.from_list([json.loads(line) for line in lines]))
        trainer.remove_callback(PrinterCallback)
        cpu = time.process_time()
        trainer.train()
        cpu = (time.process_time() - cpu) / GRPO_STEPS
    steps = [line["step_time"] for line in trainer.state.log_history if "step_time" in line]
    return {"seconds": statistics.median(steps[1:]), "cpu_seconds": cpu}


WORK = {"prefill": lambda args, shape: generation(args, shape, 1, 1), "decode": decoding,
        "rollout": lambda args, shape: generation(args, shape, GROUP, shape[2]),
        "score": scoring, "train": training, "grpo": grpo}


def measure(args: Namespace) -> None:
    """Does one case in this process and prints a JSON line."""
    import torch
    import transformers

    shape = args.shape or SHAPES[args.case]
    numbers = [int(n) for n in shape.replace("x", "+").split("+")] if shape != "curve" else []
    result = WORK[args.case](args, numbers)
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
    if args.device == "cuda":
        peak = torch.cuda.max_memory_allocated()
    versions = {module.__name__: module.__version__ for module in (torch, transformers)}
    print(json.dumps({"case": args.case, "shape": shape, "peak_bytes": peak} | result | versions))


def run(command: list[str], threads: int) -> dict[str, Any]:
    """The JSON line that a process prints."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    print(done.stdout.strip(), file=sys.stderr, flush=True)
    return json.loads(done.stdout)


def compare(args: Namespace) -> None:
    """Runs both sides in turn and prints the table."""
    print(f"{'case':8} {'shape':12} {'emberl s':>9} {'torch s':>9} {'faster':>7} {'less cpu':>9} "
          f"{'emberl MB':>10} {'torch MB':>9} {'memory':>7}")
    device = {"cuda": "cuda:0"}.get(args.device, args.device)
    model = ["--model", str(args.model)] if args.model else []
    for case in args.cases.split(","):
        shape = args.shape or SHAPES[case]
        shaped = [] if case == "grpo" else ["--shapes", shape]
        ours = [args.throughput, "--cases", case, "--json", "--device", device, *shaped, *model,
                "--workers", str(args.threads)]
        theirs = [sys.executable, __file__, "torch", case, "--shape", shape, *model, "--threads",
                  str(args.threads), "--device", args.device, "--dtype", args.dtype]
        rounds = [(run(ours, args.threads), run(theirs, args.threads)) for _ in range(args.rounds)]
        keys = ("seconds", "cpu_seconds", "peak_bytes")
        (wall, cpu, peak), (wall2, cpu2, peak2) = (
            [statistics.median(side[key] for side in sides) for key in keys]
            for sides in zip(*rounds, strict=True))
        print(f"{case:8} {shape:12} {wall:9.4f} {wall2:9.4f} {wall2 / wall:6.2f}x {cpu2 / cpu:8.2f}x "
              f"{peak / 1e6:10.0f} {peak2 / 1e6:9.0f} {peak / peak2:7.2f}", flush=True)


def main() -> None:
    """Does what the command line asks for."""
    parser = argparse.ArgumentParser(description="Speed of emberl and its peers.")
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("torch", help="measure one case in this process")
    one.add_argument("case", choices=WORK)
    one.set_defaults(work=measure)
    both = commands.add_parser("compare", help="run both sides in turn")
    both.add_argument("throughput", help="the example's binary")
    both.add_argument("--cases", default=",".join(WORK))
    both.add_argument("--rounds", type=int, default=3)
    both.set_defaults(work=compare)
    for command in (one, both):
        command.add_argument("--shape", help="rows, prompt and completion tokens: 64x128+128")
        command.add_argument("--model", type=Path)
        command.add_argument("--threads", type=int, default=4)
        command.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
        command.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    args = parser.parse_args()
    args.work(args)


if __name__ == "__main__":
    main()
