#!/usr/bin/env python3
"""Training steps of a bag of features in PyTorch: the same network, batches and rule as bench/bag.c,
for scripts/bench-bag. Prints one JSON object: seconds a step of every group of steps, after one that
warms up; processor time a step, peak memory in MiB, parameters, the last loss.

The table is nn.EmbeddingBag's with sparse gradients, which SGD and Adagrad take; the linear layer's
are dense and plain SGD's. Both are PyTorch's own ways, fused by nothing.
"""
import argparse
import json
import resource
import time

import torch
import torch.nn as nn
import torch.nn.functional as F


class Bag(nn.Module):
    def __init__(self, a):
        super().__init__()
        self.table = nn.EmbeddingBag(a.rows, a.width, mode="sum", sparse=True)
        nn.init.uniform_(self.table.weight, -1 / a.width, 1 / a.width)
        self.classify = nn.Linear(a.width, a.classes)

    def forward(self, ids):
        return self.classify(self.table(ids))


def main():
    parser = argparse.ArgumentParser()
    for name, default in (("rows", 200000), ("width", 100), ("features", 64), ("classes", 3),
                          ("batch", 256), ("steps", 10), ("group", 10), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--rule", default="adagrad", choices=("sgd", "adagrad"))
    parser.add_argument("--describe", action="store_true", help="print the version and parameters")
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    model = Bag(a)
    parameters = sum(p.numel() for p in model.parameters())
    if a.describe:
        print(json.dumps({"version": torch.__version__, "parameters": parameters}))
        return
    rule = torch.optim.SGD if a.rule == "sgd" else torch.optim.Adagrad
    optimizers = [rule(model.table.parameters(), lr=0.1),
                  torch.optim.SGD(model.classify.parameters(), lr=0.1)]
    batches = 4 * a.rows // (a.batch * a.features) + 1
    ids = torch.randint(0, a.rows, (batches, a.batch, a.features))
    label = torch.randint(0, a.classes, (batches, a.batch))

    def group(first, n):
        """Seconds a step."""
        start = time.perf_counter()
        for step in range(first, first + n):
            for o in optimizers:
                o.zero_grad(set_to_none=True)
            loss = F.cross_entropy(model(ids[step % batches]), label[step % batches])
            loss.backward()
            for o in optimizers:
                o.step()
        return (time.perf_counter() - start) / n, loss.item()

    group(0, a.group)
    used = time.process_time()
    timed = [group((i + 1) * a.group, a.group) for i in range(a.steps)]
    used = (time.process_time() - used) / (a.steps * a.group)
    print(json.dumps({"seconds": [s for s, _ in timed], "processor": used,
                      "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                      "parameters": parameters, "loss": timed[-1][1]}))


if __name__ == "__main__":
    main()
