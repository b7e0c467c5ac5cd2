"""Measures the peak memory of training steps with torch, transformers and PEFT, beside emberl's.

usage: python memory.py model DIR [--shape qwen2.5-0.5b|60m|20m|tiny]
       python memory.py data FILE --tokenizer DIR [--rows 8] [--tokens 512] [--steps 3]
       python memory.py torch --model DIR --mode full|lora [--checkpointing] [--batch 8]
                [--tokens 512] [--steps 2] [--threads 4] [--head full|chunked] [--env NAME=VALUE]
       python memory.py compare EMBERL_BINARY MODEL_DIR [--only full,lora] [--skip-torch]
                [--checkpointing on|off] [--batch, --tokens, .. as for `torch`]

`model` writes a folder of random weights, `data` texts for SFT, `torch` prints one JSON line,
`compare` a table. All is f32 on the CPU. A peak is the most memory a process of its own ever had
resident, in bytes (GB: 1e9): libraries, loading, malloc's arenas and mapped files count, and of
emberl saving the result. Seconds are the median of the steps without the first. Linux only;
`torch` needs torch, transformers and peft, `data` needs tokenizers.
"""

import argparse
import itertools
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from argparse import Namespace
from pathlib import Path
from typing import Any

# emberl's recipe of a case, and what LoRA adds to it; `LORA` says the same to PEFT.
RECIPE = """
name = "memory"
device = "cpu"
workers = {threads}
model = {model}

[[stage]]
kind = "sft"
data = {data}
epochs = 1
batch = {batch}
max_tokens = {tokens}
batching = {{ micro_batch = {batch}, checkpointing = {checkpointing} }}
"""
RECIPE_LORA = 'lora = { rank = 16, alpha = 32, targets = "all-linear" }\n'
LORA = {"r": 16, "lora_alpha": 32, "target_modules": "all-linear"}

HEAD_TOKENS = 512  # tokens whose logits are in memory together with `--head chunked`
TOKENIZER = Path(__file__).resolve().parent.parent / "fixtures/oracle/tokenizer_chatml"
SHAPE_KEYS = ["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
              "num_key_value_heads", "vocab_size", "max_position_embeddings"]
SHAPES = {"qwen2.5-0.5b": [896, 4864, 24, 14, 2, 151936, 32768],
          "60m": [640, 1728, 10, 10, 2, 32000, 4096],
          "20m": [384, 1024, 8, 6, 2, 16000, 4096],
          "tiny": [64, 128, 3, 4, 2, 1024, 2048]}


def write_model(args: Namespace) -> None:
    """Writes a Qwen2 folder with random weights and the fixtures' tokenizer, of fewer tokens."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    added = json.loads((TOKENIZER / "tokenizer.json").read_text(encoding="utf-8"))["added_tokens"]
    ids = {token["content"]: token["id"] for token in added}
    model = Qwen2ForCausalLM(Qwen2Config(
        **dict(zip(SHAPE_KEYS, SHAPES[args.shape], strict=True)), tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6}, dtype=torch.float32,
        eos_token_id=ids["<|im_end|>"], pad_token_id=ids["<|endoftext|>"]))
    model.save_pretrained(args.folder)
    for file in TOKENIZER.iterdir():
        shutil.copy(file, args.folder)


def write_data(args: Namespace) -> None:
    """Writes `batch` texts a step of random words, each text of at least `tokens` tokens."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(args.tokenizer / "tokenizer.json"))
    rng = random.Random(0)
    with open(args.file, "w", encoding="utf-8") as file:
        for _ in range(args.batch * args.steps):
            text = ""
            while len(tokenizer.encode(text).ids) < args.tokens:
                text += "".join(rng.choices("abcdefghijklmnopqrstuvwxyz      ", k=100))
            file.write(json.dumps({"text": text}) + "\n")


def resident(field: str) -> int:
    """Bytes of this process: `VmHWM`, the most that were ever resident, or `VmRSS`, those now."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split(f"{field}:")[1].split()[0]) * 1024


def load(case: Namespace) -> Any:
    """The model as it trains: in f32, with adapters and checkpointing as the case says."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        case.model, dtype=torch.float32, attn_implementation="sdpa")
    model.config.use_cache = False
    if case.checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if case.mode == "lora":
        if case.checkpointing:
            model.enable_input_require_grads()
        model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **LORA))
    return model.train()  # transformers checkpoints nothing in evaluation mode


def chunked_loss(model: Any, ids: Any) -> Any:
    """transformers' loss, with few logits at a time, which the backward pass computes again."""
    import torch
    from torch.utils.checkpoint import checkpoint

    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    hidden = causal.model(ids).last_hidden_state[:, :-1].flatten(0, 1).split(HEAD_TOKENS)
    targets = ids[:, 1:].flatten().split(HEAD_TOKENS)

    def summed(hidden: Any, targets: Any) -> Any:
        logits = causal.lm_head(hidden)
        return torch.nn.functional.cross_entropy(logits, targets, reduction="sum")

    losses = [checkpoint(summed, *chunk, use_reentrant=False)
              for chunk in zip(hidden, targets, strict=True)]
    return torch.stack(losses).sum() / ids[:, 1:].numel()


def train(case: Namespace) -> dict[str, Any]:
    """Takes the steps with torch in this process and returns what they took."""
    import peft
    import torch
    import transformers

    warnings.simplefilter("ignore", FutureWarning)
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(case.threads)
    torch.manual_seed(0)
    imported = resident("VmRSS")
    model = load(case)
    loaded, loading_peak = resident("VmRSS"), resident("VmHWM")
    trainable = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=1e-6)
    seconds, losses = [], []
    for _ in range(case.steps):
        ids = torch.randint(model.config.vocab_size, (case.batch, case.tokens))
        started = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        chunked = case.head == "chunked"
        loss = chunked_loss(model, ids) if chunked else model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        seconds.append(time.perf_counter() - started)
        losses.append(loss.item())
        del loss
    peak = resident("VmHWM")
    return {
        "peak_bytes": peak,
        "imported_bytes": imported,  # the libraries, a part of all the others
        "loaded_bytes": loaded,
        "loading_peak_bytes": loading_peak,
        "loading_is_the_peak": loading_peak >= peak,  # then training took less than `peak_bytes`
        "seconds_per_step": statistics.median(seconds[1:] or seconds),
        "trainable_weights": sum(weight.numel() for weight in trainable),
        "losses": losses,
        "versions": {m.__name__: str(m.__version__) for m in (torch, transformers, peft)},
    }


def run_measured(command: list[str], settings: list[str]) -> tuple[dict[str, Any], str]:
    """Runs a command with `settings` (NAME=VALUE) in its environment: how it ended, its output.

    A child's peak starts at its parent's, so this process must not import torch.
    """
    environment = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    for setting in settings:
        name, _, environment[name] = setting.partition("=")
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        output = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    killed = child.returncode == -signal.SIGKILL  # as the kernel does when memory runs out
    failed = child.returncode != 0 and not killed
    return {"killed": killed, "failed": failed, "peak_bytes": usage.ru_maxrss * 1024}, output


def torch_case(args: Namespace, mode: str, checkpointing: bool) -> dict[str, Any]:
    """Trains in a fresh process; of a killed one, the peak is what it had reached."""
    case = {"mode": mode, "checkpointing": checkpointing, "model": str(args.model)}
    case |= {key: vars(args)[key] for key in ("batch", "tokens", "steps", "threads", "head")}
    result, output = run_measured([sys.executable, __file__, "step", json.dumps(case)], args.env)
    trained = {} if result["killed"] or result["failed"] else json.loads(output)
    return case | {"env": args.env} | result | trained


def emberl_case(args: Namespace, mode: str, checkpointing: bool) -> dict[str, Any]:
    """Plans and runs the case's recipe in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="memory-") as folder:
        path, data, out = (Path(folder, name) for name in ("recipe.toml", "data.jsonl", "run"))
        sizes = [f"--{key}={vars(args)[key]}" for key in ("batch", "tokens", "steps")]
        write = [sys.executable, __file__, "data", str(data), "--tokenizer", str(args.model)]
        subprocess.run(write + sizes, check=True)
        recipe = RECIPE.format(
            model=json.dumps(str(args.model.resolve())), data=json.dumps(str(data)),
            checkpointing=str(checkpointing).lower(), batch=args.batch, tokens=args.tokens,
            threads=args.threads)
        path.write_text(recipe + RECIPE_LORA * (mode == "lora"), encoding="utf-8")
        run = [args.emberl, "run", str(path), "--device", "cpu", "--quiet", "--out", str(out)]
        result, _ = run_measured(run, args.env)
        result["planned_bytes"] = planned_bytes(args.emberl, path)
        if not result["killed"] and not result["failed"]:
            lines = (out / "01-sft/metrics.jsonl").read_text(encoding="utf-8").splitlines()
            seconds = [json.loads(line)["seconds"] for line in lines]
            result["seconds_per_step"] = statistics.median(seconds[1:] or seconds)
        return result


def planned_bytes(emberl: str, path: Path) -> int | None:
    """The peak that emberl foretells; none when it cannot."""
    plan = subprocess.run([emberl, "plan", str(path), "--json"], capture_output=True, text=True)
    try:
        return int(json.loads(plan.stdout)["peak_bytes"])
    except (ValueError, KeyError, TypeError):
        return None


def number(value: float | None, unit: float | None = 1.0) -> str:
    """A cell of the table: `value / unit`, or a dash when one is unknown."""
    return "-" if value is None or unit is None else f"{value / unit:.2f}"


def peak(result: dict[str, Any]) -> tuple[str, int | None]:
    """A measured peak as a cell, marked when it is a bound, and as a number when it is known."""
    if result.get("failed"):
        return "failed", None
    mark = ">" if result.get("killed") else "<=" if result.get("loading_is_the_peak") else ""
    peak_bytes = result.get("peak_bytes")
    return mark + number(peak_bytes, 1e9), None if result.get("killed") else peak_bytes


def compare(args: Namespace) -> None:
    """Measures the cases one by one, each as a JSON line on stderr, and prints the table."""
    rows = [["case", "torch GB", "imported GB", "emberl GB", "emberl/torch", "plan GB",
             "plan/emberl", "torch s/step", "emberl s/step"]]
    on_off = {"on": [True], "off": [False], None: [False, True]}[args.checkpointing]
    for mode, checkpointing in itertools.product(args.only.split(","), on_off):
        name = mode + " + checkpointing" * checkpointing
        torch = {} if args.skip_torch else torch_case(args, mode, checkpointing)
        emberl = emberl_case(args, mode, checkpointing)
        line = {"case": name, "torch": torch, "emberl": emberl}
        print(json.dumps(line), file=sys.stderr, flush=True)
        (torch_cell, torch_peak), (emberl_cell, emberl_peak) = peak(torch), peak(emberl)
        planned = emberl["planned_bytes"]
        rows.append([name, torch_cell, number(torch.get("imported_bytes"), 1e9), emberl_cell,
                     number(emberl_peak, torch_peak), number(planned, 1e9),
                     number(planned, emberl_peak),
                     number(torch.get("seconds_per_step")), number(emberl.get("seconds_per_step"))])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]))
    print(f"batch {args.batch} of {args.tokens} tokens, f32, {args.threads} threads, torch's head "
          f"{args.head}\nGB: 1e9 bytes; imported: what of torch's peak is its libraries; "
          "'>': then killed; '<=': loading was the peak")


def add_sizes(parser: argparse.ArgumentParser, steps: int) -> None:
    """Adds the options of a case's sizes."""
    parser.add_argument("--batch", "--rows", type=int, default=8, help="sequences a step")
    parser.add_argument("--tokens", type=int, default=512, help="tokens a sequence")
    parser.add_argument("--steps", type=int, default=steps)


def add_process(parser: argparse.ArgumentParser) -> None:
    """Adds the options of a measured process."""
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--head", choices=["full", "chunked"], default="full",
                        help="torch's logits: all at once as in transformers, or few at a time")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE",
                        help="environment of the measured process, as MALLOC_ARENA_MAX=1")


def arguments() -> Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description="Peak memory of training: torch and emberl.")
    commands = parser.add_subparsers(dest="command", required=True)
    model = commands.add_parser("model", help="write a model folder with random weights")
    model.add_argument("folder", type=Path)
    model.add_argument("--shape", choices=SHAPES, default="qwen2.5-0.5b")
    data = commands.add_parser("data", help="write texts for SFT")
    data.add_argument("file", type=Path)
    data.add_argument("--tokenizer", type=Path, required=True, help="folder with tokenizer.json")
    add_sizes(data, steps=3)
    torch = commands.add_parser("torch", help="measure torch in a fresh process")
    torch.add_argument("--model", type=Path, required=True)
    torch.add_argument("--mode", choices=["full", "lora"], required=True)
    torch.add_argument("--checkpointing", action="store_true")
    add_sizes(torch, steps=2)
    add_process(torch)
    both = commands.add_parser("compare", help="measure torch and emberl")
    both.add_argument("emberl", help="emberl's binary")
    both.add_argument("model", type=Path)
    both.add_argument("--only", choices=["full,lora", "full", "lora"], default="full,lora")
    both.add_argument("--checkpointing", choices=["on", "off"], help="unset measures both")
    both.add_argument("--skip-torch", action="store_true")
    add_sizes(both, steps=3)
    add_process(both)
    return parser.parse_args()


def main() -> None:
    """Does what the command line asks for; `step CASE` is the process that `torch` measures."""
    if sys.argv[1:2] == ["step"]:
        print(json.dumps(train(Namespace(**json.loads(sys.argv[2])))))
        return
    args = arguments()
    if args.command == "torch":
        result = torch_case(args, args.mode, args.checkpointing)
        print(json.dumps(result))
        sys.exit(result["failed"])
    {"model": write_model, "data": write_data, "compare": compare}[args.command](args)


if __name__ == "__main__":
    main()
