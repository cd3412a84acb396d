#!/usr/bin/env python3
"""Training steps of the text encoder in PyTorch: the same network, batch and optimizer as
bench/text_encoder.c, for scripts/bench-text. Prints one JSON object: seconds a step of every group
of steps, after those that warm up; processor time a step; seconds until the first step had ended,
compilation and all; peak memory in MiB (of the GPU's with --device cuda), parameters.

The network is written out: pre-norm, one projection for queries, keys and values, PyTorch's fused
attention (before 2.0, which has none, softmax of a product), exact GELU. With full texts it needs
no mask and gets none. AdamW is fused where PyTorch has it, with clipping and an average of the
weights. --amp: autocast to bf16; --compile: torch.compile.
"""
import argparse
import json
import math
import resource
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x, mask):
        n, t, c = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        if hasattr(F, "scaled_dot_product_attention"):
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        else:
            scores = q @ k.transpose(2, 3) / math.sqrt(c // self.heads)
            if mask is not None:
                scores = scores.masked_fill(~mask, -math.inf)
            y = F.softmax(scores, 3) @ v
        return self.out(y.transpose(1, 2).reshape(n, t, c))


class Block(nn.Module):
    def __init__(self, width, heads, dropout):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, mask):
        x = x + self.dropout(self.attention(self.norm1(x), mask))
        return x + self.dropout(self.down(F.gelu(self.up(self.norm2(x)))))


class Encoder(nn.Module):
    def __init__(self, a):
        super().__init__()
        self.token = nn.Embedding(a.vocabulary, a.width)
        self.position = nn.Embedding(a.length, a.width)
        self.blocks = nn.ModuleList(Block(a.width, a.heads, a.dropout) for _ in range(a.layers))
        self.norm = nn.LayerNorm(a.width)
        self.classify = nn.Linear(a.width, a.classes)
        self.dropout = nn.Dropout(a.dropout)
        self.full = a.lengths == "full"

    def forward(self, ids, length):
        x = self.dropout(self.token(ids) + self.position.weight)
        if self.full:
            mask = None
        else:
            inside = torch.arange(ids.shape[1], device=ids.device) < length[:, None]
            mask = inside[:, None, None, :]
        for block in self.blocks:
            x = block(x, mask)
        x = self.norm(x)
        if self.full:
            return self.classify(x.mean(1))
        return self.classify((x * inside[:, :, None]).sum(1) / length[:, None])


def optimizer_of(model, device):
    """Norms, biases and embeddings are exempt from decay."""
    tables = {id(model.token.weight), id(model.position.weight)}
    exempt = [p for p in model.parameters() if p.dim() < 2 or id(p) in tables]
    decay = [p for p in model.parameters() if p.dim() > 1 and id(p) not in tables]
    groups = [{"params": decay, "weight_decay": 0.01}, {"params": exempt, "weight_decay": 0.0}]
    try:
        return torch.optim.AdamW(groups, lr=1e-4, fused=device == "cuda")
    except TypeError:  # PyTorch 1
        return torch.optim.AdamW(groups, lr=1e-4)


def batch_of(a):
    """In memory from which a GPU copies while it computes."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, a.vocabulary, (a.batch, a.length), generator=generator)
    length = torch.full((a.batch,), a.length)
    if a.lengths == "random":
        length = torch.randint(1, a.length + 1, (a.batch,), generator=generator)
    label = torch.randint(0, a.classes, (a.batch,), generator=generator)
    batch = ids, length, label
    return tuple(x.pin_memory() for x in batch) if a.device == "cuda" else batch


def main():
    parser = argparse.ArgumentParser()
    for name, default in (("vocabulary", 8192), ("length", 64), ("layers", 4), ("width", 256),
                          ("heads", 8), ("classes", 3), ("batch", 256), ("steps", 8),
                          ("group", 1), ("warm", 2), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--lengths", default="full", choices=("full", "random"))
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--amp", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--mode", default="default", help="of torch.compile")
    parser.add_argument("--describe", action="store_true", help="print the version and parameters")
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    model = Encoder(a).to(a.device)
    parameters = sum(p.numel() for p in model.parameters())
    if a.describe:
        print(json.dumps({"version": torch.__version__, "parameters": parameters}))
        return
    forward = torch.compile(model, mode=a.mode) if a.compile else model
    optimizer = optimizer_of(model, a.device)
    average = [p.detach().clone() for p in model.parameters()]
    values = [p.detach() for p in model.parameters()]
    batch = batch_of(a)

    # a compiled graph's output may be written over from here on, which it cannot know
    begins = getattr(torch.compiler, "cudagraph_mark_step_begin", None) if a.compile and a.device == "cuda" else None

    def train():
        if begins:
            begins()
        ids, length, label = (x.to(a.device, non_blocking=True) for x in batch)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(a.device, dtype=torch.bfloat16, enabled=a.amp):
            loss = F.cross_entropy(forward(ids, length), label)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        torch._foreach_mul_(average, 0.999)
        torch._foreach_add_(average, values, alpha=0.001)
        return loss

    def group(n):
        """Seconds a step; the host reads the loss at the end, so all of it has been done."""
        start = time.perf_counter()
        for _ in range(n):
            loss = train()
        loss = loss.item()
        return (time.perf_counter() - start) / n, loss

    begin, first = time.perf_counter(), 0.0
    for step in range(a.warm):
        group(1)
        first = first or time.perf_counter() - begin
        if a.compile:  # whoever stops this sees how far it came
            print(f"warm step {step + 1} after {time.perf_counter() - begin:.1f} s", file=sys.stderr, flush=True)
    used = time.process_time()
    timed = [group(a.group) for _ in range(a.steps)]
    used = (time.process_time() - used) / (a.steps * a.group)
    peak, device = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 0
    if a.device == "cuda":
        free, total = torch.cuda.mem_get_info()
        peak, device = torch.cuda.max_memory_allocated() / 2**20, (total - free) / 2**20
    print(json.dumps({"seconds": [s for s, _ in timed], "processor": used, "first": first,
                      "peak_mib": peak, "device_mib": device,
                      "parameters": parameters, "loss": timed[-1][1]}))


if __name__ == "__main__":
    main()
