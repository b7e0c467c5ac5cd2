"""What torch and transformers do of the work of examples/throughput."""

import contextlib
import signal
import statistics
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, Qwen2Config

SMALL = {"hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 4,
         "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 512,
         "max_position_embeddings": 4096, "tie_word_embeddings": True}
GROUP = 8
REPEATS = 3
COMPILE_SECONDS = 60


def load(args: Namespace, training: bool) -> Any:
    """The model: of a folder, its weights random if it has none, or the small one."""
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    dtype = torch.float32 if training else getattr(torch, args.dtype)
    if args.model and (args.model / "model.safetensors").exists():
        model = AutoModelForCausalLM.from_pretrained(args.model, dtype=dtype)
    else:
        config = AutoConfig.from_pretrained(args.model) if args.model else Qwen2Config(**SMALL)
        with torch.device(args.device):
            model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    return model.to(args.device).train(training)


def timed(args: Namespace, work: Callable[[], Any]) -> dict[str, float]:
    """Medians of the wall and CPU seconds of `work`, after one run that is not counted."""
    walls, cpus = [], []
    for _ in range(1 + REPEATS):
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        if args.device == "cuda":
            torch.cuda.synchronize()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return {"seconds": statistics.median(walls[1:]), "cpu_seconds": statistics.median(cpus[1:])}


@contextlib.contextmanager
def alarm(seconds: int) -> Iterator[None]:
    """Raises TimeoutError in what takes longer."""
    def ring(*_: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def generate(model: Any, ids: torch.Tensor, tokens: int, cache: str) -> None:
    """Samples `tokens` tokens a row; a static cache may be compiled for by transformers, or not."""
    kind, _, compiled = cache.partition(" ")
    model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=True, top_k=0, pad_token_id=0,
                   max_new_tokens=tokens, min_new_tokens=tokens, cache_implementation=kind,
                   disable_compile=not compiled)


def generation(args: Namespace, shape: list[int], group: int, tokens: int) -> dict[str, Any]:
    """Sampling with the fastest cache, and the first token of it alone; groups repeat their prompt."""
    rows, prompt, _ = shape
    model = load(args, training=False)
    ids = torch.randint(model.config.vocab_size, (-(-rows // group), prompt), device=args.device)
    ids = ids.repeat_interleave(group, 0)[:rows]
    results = {}
    caches = [args.cache] if args.cache else ["dynamic", "static"]
    if args.device == "cuda" and tokens > 1 and not args.cache:
        caches.append("static compiled")
    for cache in caches:
        try:
            if "compiled" in cache and not args.cache:
                with alarm(COMPILE_SECONDS):
                    generate(model, ids, tokens, cache)
            results[cache] = timed(args, lambda: generate(model, ids, tokens, cache))
        except Exception as error:  # noqa: BLE001: whatever a compiler may fail with
            if cache == caches[0]:
                raise
            results[cache] = {"seconds": float("inf"), "error": repr(error)[:200]}
    cache = min(results, key=lambda name: results[name]["seconds"])
    tried = {name: result.get("error", result["seconds"]) for name, result in results.items()}
    best = results[cache] | {"cache": cache, "tried": tried}
    if tokens > 1:
        best["first"] = timed(args, lambda: generate(model, ids, 1, cache.split(" ")[0]))
    return best


def prefill(args: Namespace, shape: list[int]) -> dict[str, Any]:
    """The prompts up to the first token."""
    return generation(args, shape, 1, 1)


def decode(args: Namespace, shape: list[int]) -> dict[str, Any]:
    """A generation without its prefill."""
    whole = generation(args, shape, 1, shape[2])
    first = whole.pop("first")
    return whole | {key: whole[key] - first[key] for key in ("seconds", "cpu_seconds")}


def rollout(args: Namespace, shape: list[int]) -> dict[str, Any]:
    """A generation of groups that share a prompt."""
    return generation(args, shape, GROUP, shape[2])


def score(args: Namespace, shape: list[int]) -> dict[str, Any]:
    """Log-probabilities of the completions."""
    rows, prompt, completion = shape
    model = load(args, training=False)
    ids = torch.randint(model.config.vocab_size, (rows, prompt + completion), device=args.device)

    @torch.no_grad()
    def work() -> Any:
        logits = model(ids, logits_to_keep=completion + 1).logits[:, :-1].float()
        return logits.log_softmax(-1).gather(2, ids[:, prompt:, None])

    return timed(args, work)


def train(args: Namespace, shape: list[int]) -> dict[str, Any]:
    """A step of AdamW on all tokens, with a clipped gradient."""
    rows, prompt, completion = shape
    model = load(args, training=True)
    ids = torch.randint(model.config.vocab_size, (rows, prompt + completion), device=args.device)
    return optimised(args, model, ids, lambda ids: model(input_ids=ids, labels=ids).loss)


def update(args: Namespace, shape: list[int]) -> dict[str, Any]:
    """The same on the completions of groups that share a prompt, with logits of no other tokens, as TRL learns."""
    rows, prompt, completion = shape
    model = load(args, training=True)
    ids = torch.randint(model.config.vocab_size, (rows, prompt + completion), device=args.device)
    ids[:, :prompt] = ids[:-(-rows // GROUP), :prompt].repeat_interleave(GROUP, 0)[:rows]

    def loss(ids: torch.Tensor) -> torch.Tensor:
        logits = model(ids, logits_to_keep=completion + 1).logits[:, :-1].float()
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, prompt:].flatten())

    return optimised(args, model, ids, loss)


def optimised(args: Namespace, model: Any, ids: torch.Tensor,
              loss: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, Any]:
    """A step of AdamW on the mean loss of rows, by autocast where the type asked for is a half."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, weight_decay=0.0,
                                  fused=args.device == "cuda")
    low = args.dtype != "float32"
    autocast = torch.autocast(args.device, torch.bfloat16) if low else contextlib.nullcontext()

    def work(batch: int) -> None:
        optimizer.zero_grad(set_to_none=True)
        for part in ids.split(batch):
            with autocast:
                found = loss(part) * len(part) / len(ids)
            found.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return fitting(len(ids), lambda batch: timed(args, lambda: work(batch)) | {"batch": batch})


def fitting(rows: int, work: Callable[[int], dict[str, Any]]) -> dict[str, Any]:
    """What `work` gives with the largest batch that memory suffices for: `rows`, or halved and halved again."""
    batch = rows
    while True:
        try:
            return work(batch)
        except torch.cuda.OutOfMemoryError:
            if batch <= GROUP:
                raise
        # Outside of the handler, whose error holds on to the tensors.
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        batch //= 2


def peak_bytes(args: Namespace) -> int:
    """The most memory so far: torch's on a GPU, else the process's."""
    if args.device == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024
