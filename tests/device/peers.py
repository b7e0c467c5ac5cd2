"""Measures emberl and its peers, torch, transformers and TRL, on the same work, in turn.

usage: python peers.py compare PROGRAM [PROGRAM ..] [--suite work|scaling] [--minutes 10]
       python peers.py torch CASE [--shape 64x128+128]
       both: [--model FOLDER] [--threads 4] [--device cpu|cuda] [--dtype float32|bfloat16]

A PROGRAM is a build of examples/throughput, `DEVICE=PATH` if it is not to run on the peers' device:
cuda:0=a/throughput wgpu:0=b/throughput. `compare` runs one process after the other, each PROGRAM, then
torch, `rounds` times or until the minutes are over, and prints a table of medians and ratios; each result
is a JSON line on stderr, and in $OUT/bench.jsonl if OUT names a folder. Every process counts the median of
three repeats. `generate` takes the fastest of a dynamic cache, a static one, and on a GPU a static one
compiled if that takes less than a minute, or the one that `--cache` names. With bfloat16 torch's weights
are that when it generates, and it trains by autocast on weights of float32, in halves of the rows where its
memory does not suffice for all. Memory on a GPU is what nvidia-smi says is taken more than before. Needs
torch, transformers and, for `grpo`, TRL; where its `datasets` is missing, stubs/ helps.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CASES = ("prefill", "decode", "rollout", "score", "train", "update", "grpo")
SHAPES = {"prefill": "64x128+128", "decode": "64x128+128", "rollout": "64x128+128",
          "score": "16x128+128", "train": "16x128+128", "update": "64x128+128"}
# One to sixteen times the completion's length, then the batch.
SCALING = {"rollout": [f"64x128+{32 << n}" for n in range(5)] + [f"{8 << n}x128+128" for n in range(5)],
           "train": [f"8x128+{32 << n}" for n in range(5)] + [f"{2 << n}x128+128" for n in range(5)]}
KEYS = ("seconds", "cpu_seconds", "peak_bytes")


@dataclass
class Job:
    """A case that both sides do."""

    case: str
    shape: str


def jobs(args: Namespace) -> list[Job]:
    """The suite's cases, or those asked for; `grpo` is the recorded curve unless a shape is asked for."""
    if args.suite == "scaling":
        cases = [case for case in args.cases.split(",") if case in SCALING]
        return [Job(case, shape) for case in cases for shape in SCALING[case]]
    shapes = args.shapes.split(",") if args.shapes else [None]
    return [Job(case, shape or SHAPES.get(case, "curve"))
            for case in args.cases.split(",") for shape in shapes]


def measure(args: Namespace) -> None:
    """Does one case by torch in this process and prints a JSON line."""
    import torch
    import torch_work
    import transformers

    shape = args.shape or SHAPES.get(args.case, "curve")
    numbers = [int(n) for n in shape.replace("x", "+").split("+")] if shape != "curve" else []
    if args.case == "grpo":
        import trl_work

        result = trl_work.grpo(args, numbers)
    else:
        result = getattr(torch_work, args.case)(args, numbers)
    versions = {module.__name__: module.__version__ for module in (torch, transformers)}
    about = {"side": "torch", "case": args.case, "shape": shape, "device": args.device,
             "dtype": args.dtype, "peak_bytes": torch_work.peak_bytes(args)}
    print(json.dumps(about | result | versions))


class GpuMemory:
    """The most memory taken on the first visible GPU while a command runs, more than before."""

    GPU = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    QUERY = ("nvidia-smi", f"--id={GPU}", "--query-gpu=memory.used", "--format=csv,noheader,nounits")

    def __enter__(self) -> "GpuMemory":
        self.before = self.peak = int(subprocess.check_output(self.QUERY, text=True))
        self.process = subprocess.Popen([*self.QUERY, "--loop-ms=100"], text=True,
                                        stdout=subprocess.PIPE)
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self) -> None:
        """Reads until nvidia-smi ends."""
        for line in self.process.stdout or ():
            if line.strip().isdigit():
                self.peak = max(self.peak, int(line))

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()
        self.thread.join()

    @property
    def bytes(self) -> int:
        """The peak."""
        return (self.peak - self.before) << 20


def run(command: list[str], args: Namespace, deadline: float) -> dict[str, Any]:
    """The JSON line that a process prints, or what went wrong."""
    environment = os.environ | {"OMP_NUM_THREADS": str(args.threads),
                                "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1",
                                "HF_HUB_DISABLE_TELEMETRY": "1"}

    def work() -> str:
        left = max(deadline - time.monotonic(), 1)
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True,
                              check=True, timeout=left)
        return done.stdout.strip().splitlines()[-1]

    try:
        if args.device == "cuda":
            with GpuMemory() as memory:
                result = json.loads(work())
            result |= {"process_peak_bytes": result["peak_bytes"], "peak_bytes": memory.bytes}
        else:
            result = json.loads(work())
    except (subprocess.SubprocessError, IndexError, json.JSONDecodeError) as error:
        result = {"error": repr(error)[-300:]}
    return result


def note(result: dict[str, Any]) -> None:
    """Writes a result where results go."""
    line = json.dumps(result)
    print(line, file=sys.stderr, flush=True)
    if folder := os.environ.get("OUT"):
        with (Path(folder) / "bench.jsonl").open("a", encoding="utf-8") as log:
            log.write(line + "\n")


def commands(args: Namespace, job: Job) -> dict[str, list[str]]:
    """How each side does the job, by the side's name."""
    model = ["--model", str(args.model)] if args.model else []
    shaped = [] if job.shape == "curve" else ["--shapes", job.shape]
    own = {"cuda": "cuda:0"}.get(args.device, args.device)
    sides = {}
    for program in args.programs:
        device, _, path = program.rpartition("=")
        device = device or own
        precision = {"float32": "f32", "bfloat16": "bf16"}[args.dtype]
        if precision == "bf16" and device.startswith(("wgpu", "vulkan")):
            precision = args.wgpu_precision
        sides[device] = [path, "--cases", job.case, "--json", "--device", device, *shaped, *model,
                         "--workers", str(args.threads), "--precision", precision]
    if not args.alone:
        sides["torch"] = [sys.executable, str(Path(__file__).resolve()), "torch", job.case,
                          "--shape", job.shape, *model, "--threads", str(args.threads),
                          "--device", args.device, "--dtype", args.dtype]
        if args.cache:
            sides["torch"] += ["--cache", args.cache]
    return sides


def row(job: Job, side: str, results: list[dict[str, Any]], peers: list[dict[str, Any]]) -> str:
    """A line of the table: medians of a side and what the peer's are to them."""
    good, peers = ([r for r in side if "error" not in r] for side in (results, peers))
    if not good:
        return f"{job.case:8} {job.shape:12} {side:9} failed: {results[-1]['error'][-60:]}"

    def median(side: list[dict[str, Any]], key: str) -> float:
        return statistics.median(r.get(key) or float("nan") for r in side) if side else float("nan")

    (wall, cpu, peak), (wall2, cpu2, peak2) = (
        [median(side, key) for key in KEYS] for side in (good, peers))
    speed = median(good, "tokens_per_second")
    return (f"{job.case:8} {job.shape:12} {side:9} {wall:9.4f} {wall2:9.4f} {wall2 / wall:6.2f}x "
            f"{cpu2 / cpu:8.2f}x {speed:9.0f} {peak / 1e6:10.0f} {peak2 / 1e6:9.0f} {peak / peak2:7.2f} "
            f"{len(good):6}")


def compare(args: Namespace) -> None:
    """Runs all sides in turn and prints the table."""
    deadline = time.monotonic() + args.minutes * 60
    work = [(job, commands(args, job)) for job in jobs(args)]
    found: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for number in range(args.rounds):
        for place, (job, sides) in enumerate(work):
            for side, command in sides.items():
                if time.monotonic() > deadline:
                    continue
                if any("error" in result for result in found.get((place, side), [])):
                    continue
                result = run(command, args, deadline)
                found.setdefault((place, side), []).append(result)
                about = {"side": side, "round": number, "model": args.model and args.model.name}
                note({"case": job.case} | result | about | {"shape": job.shape})
    print(f"{'case':8} {'shape':12} {'side':9} {'emberl s':>9} {'torch s':>9} {'faster':>7} "
          f"{'less cpu':>9} {'tokens/s':>9} {'emberl MB':>10} {'torch MB':>9} {'memory':>7} "
          f"{'rounds':>6}")
    for place, (job, sides) in enumerate(work):
        peers = found.get((place, "torch"), [])
        for side in sides:
            if side != "torch" and (results := found.get((place, side))):
                print(row(job, side, results, peers), flush=True)
        if peers and all("error" in peer for peer in peers):
            print(f"{job.case:8} {job.shape:12} torch     failed: {peers[-1]['error'][-60:]}")


def main() -> None:
    """Does what the command line asks for."""
    parser = argparse.ArgumentParser(description="Speed of emberl and its peers.")
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("torch", help="measure one case in this process")
    one.add_argument("case", choices=CASES)
    one.add_argument("--shape", help="rows, prompt and completion tokens: 64x128+128")
    one.set_defaults(work=measure)
    both = commands.add_parser("compare", help="run both sides in turn")
    both.add_argument("programs", nargs="+", metavar="PROGRAM")
    both.add_argument("--suite", choices=["work", "scaling"], default="work")
    both.add_argument("--cases", default=",".join(CASES))
    both.add_argument("--shapes", help="as 64x128+128,64x256+512; a case's own if left out")
    both.add_argument("--rounds", type=int, default=3)
    both.add_argument("--minutes", type=float, default=600, help="begin nothing after so many")
    both.add_argument("--wgpu-precision", choices=["auto", "f32", "f16", "bf16"], default="f16",
                      help="what wgpu and Vulkan compute in when CUDA computes in bfloat16")
    both.add_argument("--alone", action="store_true", help="leave the peers out")
    both.set_defaults(work=compare)
    for command in (one, both):
        command.add_argument("--model", type=Path)
        command.add_argument("--threads", type=int, default=4)
        command.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
        command.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
        command.add_argument("--cache", choices=["dynamic", "static", "static compiled"],
                             help="the only one that `generate` tries; that of TRL's generation")
    args = parser.parse_args()
    args.work(args)


if __name__ == "__main__":
    main()
