"""What one accelerator does with this package: ceilings, generation, training, a whole small run.

Every part prints JSON lines `{"name", "ours", "peer", "ratio", "unit"}` (`ratio` above 1 means ours
is better; for a bound it is the share of the bound that is reached) and the record of all of them
is written as one JSON file. A part that fails is in the record with its error.

Usage: python benchmarks/gpu.py --out benchmarks/results/NAME.json
       python benchmarks/gpu.py --tiny   (any machine: that it runs; its figures mean nothing)
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from camelid.data.loader import PackedRows, pack
from camelid.data.rendered import Rendered
from camelid.inference.generation import Request, generate
from camelid.inference.sampling import Sampling
from camelid.model.config import ModelConfig
from camelid.model.transformer import Transformer
from camelid.runtime import Compute, Runtime
from camelid.train.config import OptimizerConfig
from camelid.train.loop import StepResult, train
from camelid.train.objectives import NextToken, TokenBatch, token_batches
from camelid.train.optimizer import make_optimizer, make_schedule

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
SHAPE_1B = ModelConfig(
    dim=2048, layers=22, heads=32, kv_heads=4, ffn_dim=5632, vocabulary_size=32000, context=4096
)
"""The 1.1B Llama that published figures are of (2048 wide, 22 layers, grouped-query attention)."""
DATASHEET_FLOPS = 989e12
"""Dense bf16 of an H100 or H200 by their data sheets: what model FLOP utilisation is a share of."""
TINY = replace(SHAPE_1B, dim=64, layers=2, heads=4, kv_heads=2, ffn_dim=96, vocabulary_size=256)

Line = dict[str, Any]


def line(name: str, ours: float, peer: float | None, unit: str, **more: Any) -> Line:
    """One figure; `ratio` is ours over peer."""
    ratio = None if peer is None else round(ours / peer, 3)
    return {"name": name, "ours": ours, "peer": peer, "ratio": ratio, "unit": unit, **more}


def failed(name: str, error: Exception) -> Line:
    """A figure that could not be had."""
    return {"name": name, "failed": f"{type(error).__name__}: {error}"[:600]}


def wait() -> None:
    """Let the device finish."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def seconds(work: Callable[[], object], *, repeats: int) -> float:
    """Median seconds of one call, after one that warms up."""
    times = []
    for _ in range(repeats + 1):
        wait()
        start = time.perf_counter()
        work()
        wait()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def peak_gib() -> float | None:
    """Most memory that tensors took since the last reset."""
    return round(torch.cuda.max_memory_allocated() / 2**30, 2) if DEVICE.type == "cuda" else None


def fresh() -> None:
    """Forget what earlier parts left in the device's memory."""
    torch.compiler.reset()
    if DEVICE.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def made(config: ModelConfig, precision: Compute) -> Transformer:
    """A model with drawn weights on the device."""
    with torch.device(DEVICE):
        model = Transformer(config)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, 0.0, parameter.shape[1] ** -0.5)
    return Runtime(device=DEVICE, precision=precision).place(model)


# Ceilings.


def ceilings(options: argparse.Namespace) -> Iterator[Line]:
    """Matrix rate, memory rate, and ways to attend inside the documents of packed rows."""
    tiny = options.tiny
    size, repeats = (256, 3) if tiny else (8192, 20)
    left, right = (torch.randn(size, size, device=DEVICE, dtype=torch.bfloat16) for _ in "ab")
    rate = 2 * size**3 / seconds(lambda: left @ right, repeats=repeats)
    yield line("ceiling.matrix", rate / 1e12, DATASHEET_FLOPS / 1e12, "TFLOP/s, bf16")
    yield line("ceiling.memory", copy_rate(tiny) / 1e12, None, "TB/s, read and written")
    yield from attention(tiny)


def attention(tiny: bool) -> Iterator[Line]:
    """Forward and backward of one layer's attention, two rows, four documents a row."""
    config = TINY if tiny else SHAPE_1B
    length, batch, pieces = (256 if tiny else 4096), 2, 4
    q, k, v = (
        torch.randn(
            (batch, heads, length, config.head_dim),
            device=DEVICE,
            dtype=torch.bfloat16,
            requires_grad=True,
        )
        for heads in (config.heads, config.kv_heads, config.kv_heads)
    )
    documents = torch.arange(length, device=DEVICE) // (length // pieces)
    mask = (documents[:, None] == documents).tril().expand(batch, 1, length, length)

    def plain() -> torch.Tensor:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)

    def masked() -> torch.Tensor:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)

    def flexible() -> Callable[[], torch.Tensor]:
        from torch.nn.attention.flex_attention import create_block_mask, flex_attention

        def inside(_b: Any, _h: Any, query: Any, key: Any) -> Any:
            return (documents[query] == documents[key]) & (query >= key)

        blocks = create_block_mask(inside, None, None, length, length, device=DEVICE)
        compiled = torch.compile(flex_attention)
        return lambda: compiled(q, k, v, block_mask=blocks, enable_gqa=True)

    ways: dict[str, Callable[[], Callable[[], torch.Tensor]]] = {
        "causal": lambda: plain,
        "mask": lambda: masked,
        "flex": flexible,
    }
    reference = None
    for name, make in ways.items():
        try:
            call = make()

            def both(call: Callable[[], torch.Tensor] = call) -> None:
                torch.autograd.backward(call().sum())

            took = seconds(both, repeats=3 if tiny else 10)
        except Exception as error:  # noqa: BLE001 (builds of torch differ in what they have)
            yield failed(f"attention.{name}", error)
            continue
        reference = took if name == "mask" else reference
        yield line(
            f"attention.{name}",
            round(1e3 * took, 3),
            None if reference is None else round(1e3 * reference, 3),
            "ms, forward and backward (peer: the mask)",
        )


# Generation.


def generation(options: argparse.Namespace) -> Iterator[Line]:
    """Tokens a second beside transformers' `generate` on the same card and the bandwidth."""
    tiny = options.tiny
    config, prompt, new = (TINY, 8, 8) if tiny else (SHAPE_1B, 256, 256)
    model = made(config, "bfloat16")
    bandwidth = copy_rate(tiny)
    weights = 2 * (sum(p.numel() for p in model.parameters()) - model.tok_embeddings.weight.numel())
    rates: dict[int, float] = {}
    for rows in (1, 4) if tiny else (1, 32, 256):
        requests = [
            Request(f"r{i}", tuple(np.random.default_rng(i).integers(3, 256, prompt).tolist()))
            for i in range(rows)
        ]

        took = seconds(partial(decode, model, requests, new), repeats=1 if rows == 256 else 2)
        rates[rows] = rows * new / took
        cached = 2 * 2 * config.layers * config.kv_heads * config.head_dim * (prompt + new / 2)
        bound = bandwidth / (weights + rows * cached) * rows
        name = f"generation.batch{rows}.of_bandwidth"
        yield line(name, rates[rows], bound, "tokens/s", peak_gib=peak_gib())
    del model
    fresh()
    yield from beside_transformers(config, prompt, new, rates)


def decode(model: Transformer, requests: list[Request], new: int) -> None:
    """Answer all requests at once, with exactly `new` tokens each."""
    sampling = Sampling(temperature=1.0, max_new_tokens=new)
    generate(model, requests, sampling, end_ids=(), seed=0, slots=len(requests))


def copy_rate(tiny: bool) -> float:
    """Bytes a second that the device reads (a copy counts both ways)."""
    source = torch.randn(2**20 if tiny else 2**30, device=DEVICE, dtype=torch.bfloat16)
    target = torch.empty_like(source)
    return 2 * source.nbytes / seconds(lambda: target.copy_(source), repeats=5)


def beside_transformers(
    config: ModelConfig, prompt: int, new: int, rates: dict[int, float]
) -> Iterator[Line]:
    """The same work by transformers."""
    import transformers

    with torch.device(DEVICE):
        peer = transformers.LlamaForCausalLM(
            transformers.LlamaConfig(
                hidden_size=config.dim, num_hidden_layers=config.layers,
                num_attention_heads=config.heads, num_key_value_heads=config.kv_heads,
                intermediate_size=config.ffn_dim, vocab_size=config.vocabulary_size,
                max_position_embeddings=config.context,
            )
        ).to(torch.bfloat16).eval()  # fmt: skip
    for rows, ours in rates.items():
        tokens = torch.randint(3, 256, (rows, prompt), device=DEVICE)

        def theirs(tokens: torch.Tensor = tokens) -> None:
            peer.generate(
                tokens, attention_mask=torch.ones_like(tokens), do_sample=True, top_k=0,
                temperature=1.0, min_new_tokens=new, max_new_tokens=new, pad_token_id=0,
            )  # fmt: skip

        took = seconds(theirs, repeats=1)
        version = transformers.__version__
        yield line(
            f"generation.batch{rows}", ours, rows * new / took, "tokens/s", transformers=version
        )


# Training.


def packed(config: ModelConfig, row: int, rows: int) -> PackedRows:
    """Full rows of documents, a thousand tokens each on average."""
    generator, documents, total = np.random.default_rng(0), [], 0
    while total < row * rows:
        length = int(np.clip(generator.lognormal(np.log(row / 5), 0.7), 8, row))
        length = min(length, row - total % row)
        ids = generator.integers(3, config.vocabulary_size, length).tolist()
        documents.append(Rendered(ids=ids, train=[True] * length))
        total += length
    return pack(documents, row, 0)


def training(options: argparse.Namespace) -> Iterator[Line]:
    """The loop of every stage: bf16 products, fp32 weights, AdamW, packed documents of 4k rows."""
    config, row, micro, many = (TINY, 64, 2, 1) if options.tiny else (SHAPE_1B, 4096, 4, 2)
    for compiled in (False,) if options.eager else (False, True):
        for documents in (True, False):
            fresh()
            name = "training." + ("compiled" if compiled else "eager")
            name += ".documents" if documents else ".one_document_a_row"
            try:
                rows = packed(config, row, micro * many)
                found = one_training(
                    name, config, rows, micro, compiled=compiled, documents=documents
                )
            except Exception as error:  # noqa: BLE001 (a compiler or memory that does not do)
                found = failed(name, error)
            yield found


class NoDocuments(NextToken):
    """Plain causal attention over each row: what leaving documents unseparated would cost."""

    def loss_sum(
        self, model: Transformer, batch: TokenBatch
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """As `NextToken`, without the numbers of documents."""
        return super().loss_sum(model, replace(batch, documents_BL=None))


def one_training(
    name: str,
    config: ModelConfig,
    rows: PackedRows,
    micro: int,
    *,
    compiled: bool,
    documents: bool,
) -> Line:
    """Seven steps; the median of the last four counts."""
    model = made(config, "bfloat16")
    if compiled:
        for block in model.layers:
            block.compile()
    steps, settings = 7, OptimizerConfig(learning_rate=1e-4)
    order = (list(range(len(rows))) for _ in range(steps))
    results: list[StepResult] = list(
        train(
            model,
            NextToken() if documents else NoDocuments(),
            token_batches(rows, order, micro, DEVICE),
            make_optimizer({"model": (model, 1.0)}, settings),
            make_schedule(settings, steps),
            steps=steps,
        )
    )
    took = statistics.median(result.seconds for result in results[3:])
    rate = results[-1].tokens / took
    counted = sum(p.numel() for p in model.parameters()) - model.tok_embeddings.weight.numel()
    # Chowdhery et al., arXiv 2204.02311, Appendix B: 6 N + 12 layers heads head_size length.
    flops = rate * (6 * counted + 12 * config.layers * config.dim * rows.tokens.shape[1])
    return line(
        f"{name}.mfu", flops / 1e12, DATASHEET_FLOPS / 1e12, "model TFLOP/s (peer: data sheet)",
        tokens_per_second=round(rate), tokens_a_step=results[-1].tokens, peak_gib=peak_gib(),
        loss=[round(result.loss, 3) for result in results],
    )  # fmt: skip


# A whole run.


def run(options: argparse.Namespace) -> Iterator[Line]:
    """`camelid run smoke` on this device, from nothing to the report."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "camelid", "run", "smoke", "--out", f"{folder}/smoke"]
        if options.tiny:
            command += ["--until", "tokenizer_training"]
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        took = time.perf_counter() - start
    if done.returncode:
        yield {"name": "run.smoke", "failed": (done.stdout + done.stderr)[-600:]}
    else:
        yield line("run.smoke", round(took, 1), None, "s")


PARTS = {
    part.__name__: part for part in (ceilings, generation, training, run)
}  # fmt: skip


def machine() -> Line:
    """What the figures are of."""
    cuda = torch.cuda.get_device_name() if DEVICE.type == "cuda" else None
    return {
        "device": cuda or platform.processor() or "cpu",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def main() -> None:
    """Run the parts and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default=",".join(PARTS), help="comma-separated")
    parser.add_argument("--out", type=Path, help="file of the record")
    parser.add_argument("--eager", action="store_true", help="leave out compiled training")
    parser.add_argument("--tiny", action="store_true", help="shapes that any machine runs")
    options = parser.parse_args()
    names = options.parts.split(",")
    if unknown := [name for name in names if name not in PARTS]:
        parser.error(f"unknown parts {', '.join(unknown)}; known: {', '.join(PARTS)}")
    if not options.tiny and DEVICE.type != "cuda":
        parser.error("no CUDA device here; --tiny runs the parts on tiny shapes anywhere")
    record: dict[str, Any] = {"machine": machine(), "tiny": options.tiny, "figures": []}
    for name in names:
        fresh()
        start = time.perf_counter()
        try:
            for found in PARTS[name](options):
                print(json.dumps(found), flush=True)
                record["figures"].append(found)
        except Exception as error:  # noqa: BLE001 (the other parts' figures are worth keeping)
            found = failed(name, error)
            print(json.dumps(found), flush=True)
            record["figures"].append(found)
        print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
        if options.out:
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
