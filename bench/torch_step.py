"""The MLM training step of `bench/step.py` in plain PyTorch, eager mode; run by it in a separate process.

Reads lines from standard input: a number requests that many steps, the end of the file ends the process. Answers each
with one line of JSON: the milliseconds of every step (elapsed, and processor time over all threads) and the peak memory
in MB. The model equals ours (BERT, post-norm, tied MLM head at the masked positions only), written in usual PyTorch.

Shape suffixes: B batch, T length, N heads, D head size, H hidden, M masked positions, V vocabulary.
"""

from __future__ import annotations

import json
import resource
import sys
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    """One post-norm block."""

    def __init__(self, hidden: int, heads: int, ffn: int, rate: float, eps: float) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(hidden, hidden) for _ in range(4))
        self.linear1, self.linear2 = nn.Linear(hidden, ffn), nn.Linear(ffn, hidden)
        self.norm1, self.norm2 = nn.LayerNorm(hidden, eps), nn.LayerNorm(hidden, eps)
        self.heads, self.rate = heads, rate

    def forward(self, x_BTH: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        batch, length, hidden = x_BTH.shape
        q, k, v = (
            f(x_BTH).view(batch, length, self.heads, -1).transpose(1, 2) for f in (self.query, self.key, self.value)
        )
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=self.rate)
        attended_BTH = attended.transpose(1, 2).reshape(batch, length, hidden)
        x_BTH = self.norm1(x_BTH + F.dropout(self.out(attended_BTH), self.rate))
        return self.norm2(x_BTH + F.dropout(self.linear2(F.gelu(self.linear1(x_BTH))), self.rate))


class Model(nn.Module):
    """Embeddings, blocks and the tied MLM head."""

    def __init__(self, spec: dict[str, float]) -> None:
        super().__init__()
        hidden, vocab, eps = int(spec["hidden"]), int(spec["vocab"]), spec["eps"]
        self.word, self.position, self.segment = (nn.Embedding(n, hidden) for n in (vocab, 512, 2))
        self.norm, self.rate = nn.LayerNorm(hidden, eps), spec["dropout"]
        self.blocks = nn.ModuleList(
            Block(hidden, int(spec["heads"]), int(spec["ffn"]), self.rate, eps) for _ in range(int(spec["layers"]))
        )
        self.transform, self.head_norm = nn.Linear(hidden, hidden), nn.LayerNorm(hidden, eps)
        self.decoder_bias = nn.Parameter(torch.zeros(vocab))
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.trunc_normal_(parameter, std=0.02, a=-0.04, b=0.04)

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        positions = torch.arange(batch["input_ids"].shape[1])
        x_BTH = self.word(batch["input_ids"]) + self.position(positions) + self.segment(batch["segment_ids"])
        x_BTH = F.dropout(self.norm(x_BTH), self.rate)
        bias = (1.0 - batch["attention_mask"][:, None, None, :].float()) * -30000.0
        for block in self.blocks:
            x_BTH = block(x_BTH, bias)
        h_MH = x_BTH.reshape(-1, x_BTH.shape[-1])[batch["positions"]]
        h_MH = self.head_norm(F.gelu(self.transform(h_MH)))
        logits_MV = F.linear(h_MH, self.word.weight, self.decoder_bias)
        return F.cross_entropy(logits_MV, batch["labels"])


def main() -> None:
    """Serve steps as described above; the first argument is the specification as JSON."""
    spec = json.loads(sys.argv[1])
    torch.manual_seed(0)
    torch.set_num_threads(int(spec["threads"]))
    model = Model(spec)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}],
        lr=1e-4,
        fused=bool(spec.get("fused", 0)) or None,
    )
    arrays = np.load(spec["batch"])
    batch = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    for line in sys.stdin:
        times, cpu = [], []
        for _ in range(int(line)):
            start, cpu_start = time.perf_counter(), time.process_time()
            optimizer.zero_grad()
            loss = model(batch)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            times.append(1000 * (time.perf_counter() - start))
            cpu.append(1000 * (time.process_time() - cpu_start))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"ms": times, "cpu_ms": cpu, "peak_mb": peak, "loss": loss.item()}), flush=True)


if __name__ == "__main__":
    main()
