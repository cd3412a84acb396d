#!/usr/bin/env python3
"""The mask detector's network and training step in PyTorch: the peer of bench/detector.c.

usage: torch_detector.py [--size nano|small] [--input N] [--stride 4|8] [--batch N] [--threads N]
                         [--layout nchw|nhwc] [--steps N] [--infer] [--compile] [--describe]
                         [--save save|async] [--device cpu|cuda] [--amp] [--mode MODE] [--group N]
                         [--loader FOLDER [--workers N]]

The same layers, batch, precision (f32) and optimizer (AdamW with an average of the weights). Its
loss is simpler than ours: the targets are given instead of assigned, which favours PyTorch. --save:
a checkpoint after each step, of weights, moments and average: torch.save, then fsync and rename, or
torch.distributed.checkpoint.async_save (waiting for the one before, as it asks to). --amp: autocast to bf16; --compile: torch.compile, in --mode. --loader: not
one batch in memory but pictures of that folder, decoded by the first of torchvision, Pillow and OpenCV
that is here, resized, flipped and coloured by --workers processes of a DataLoader. Prints one JSON
object: seconds a step of every group of steps (--group, 1), after those that warm up; seconds until the
first step had ended, compilation and all; peak memory in MiB (of the GPU's with --device cuda),
parameters.
"""
import argparse
import glob
import json
import os
import resource
import shutil
import sys
import tempfile
import time

import torch
from torch import nn
import torch.nn.functional as F

SIZES = {
    "nano": dict(stem=16, stage=(32, 64, 128, 160), depth=(1, 2, 2, 1), neck=(32, 64, 64, 64),
                 head=(32, 64, 64, 64)),
    "small": dict(stem=32, stage=(64, 128, 256, 320), depth=(1, 2, 2, 1),
                  neck=(64, 128, 128, 128), head=(64, 96, 96, 96)),
}


class Layer(nn.Module):
    """Convolution, batch norm, SiLU [, plus a residual]."""

    def __init__(self, i, o, kernel=3, stride=1):
        super().__init__()
        self.conv = nn.Conv2d(i, o, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(o, eps=1e-3)

    def forward(self, x, residual=None):
        y = F.silu(self.norm(self.conv(x)), inplace=True)
        return y if residual is None else y + residual


class Csp(nn.Module):
    def __init__(self, i, o, depth):
        super().__init__()
        half = o // 2
        self.left, self.right = Layer(i, half, 1), Layer(i, half, 1)
        self.reduce = nn.ModuleList(Layer(half, half, 1) for _ in range(depth))
        self.conv = nn.ModuleList(Layer(half, half, 3) for _ in range(depth))
        self.join = Layer(o, o, 1)

    def forward(self, x):
        left, right = self.left(x), self.right(x)
        for reduce, conv in zip(self.reduce, self.conv):
            left = conv(reduce(left), left)
        return self.join(torch.cat((left, right), 1))


class Detector(nn.Module):
    def __init__(self, size, stride, classes=3):
        super().__init__()
        r = SIZES[size]
        stage, neck, head = r["stage"], r["neck"], r["head"]
        self.first = {4: 0, 8: 1}[stride]
        self.stem = Layer(3, r["stem"], 3, 2)
        widths = (r["stem"],) + tuple(stage)
        self.down = nn.ModuleList(Layer(widths[k], stage[k], 3, 2) for k in range(4))
        self.csp = nn.ModuleList(Csp(stage[k], stage[k], r["depth"][k]) for k in range(4))
        levels = range(self.first, 4)
        self.reduce = nn.ModuleDict({str(k): Layer(neck[k + 1], neck[k], 1)
                                     for k in levels if k < 3 and neck[k + 1] != neck[k]})
        self.lateral = nn.ModuleDict({str(k): Layer(stage[k], neck[k], 1) for k in levels})
        self.top_down = nn.ModuleDict({str(k): Csp(neck[k], neck[k], 1) for k in levels if k < 3})
        self.neck_down = nn.ModuleDict({str(k): Layer(neck[k - 1], neck[k], 3, 2)
                                        for k in levels if k > self.first})
        self.bottom_up = nn.ModuleDict({str(k): Csp(neck[k], neck[k], 1)
                                        for k in levels if k > self.first})

        def branch(k, outputs):
            return nn.Sequential(Layer(neck[k], head[k]), Layer(head[k], head[k]),
                                 nn.Conv2d(head[k], outputs, 1))

        self.classes = nn.ModuleDict({str(k): branch(k, classes) for k in levels})
        self.boxes = nn.ModuleDict({str(k): branch(k, 4) for k in levels})

    def forward(self, image):
        x = self.stem(image)
        maps = []
        for down, csp in zip(self.down, self.csp):
            x = csp(down(x))
            maps.append(x)
        for k in range(3, self.first - 1, -1):
            if k == 3:
                maps[k] = self.lateral["3"](maps[k])
                continue
            above = maps[k + 1]
            if str(k) in self.reduce:
                above = self.reduce[str(k)](above)
            above = F.interpolate(above, scale_factor=2.0, mode="nearest")
            maps[k] = self.top_down[str(k)](self.lateral[str(k)](maps[k], above))
        for k in range(self.first + 1, 4):
            maps[k] = self.bottom_up[str(k)](self.neck_down[str(k)](maps[k - 1], maps[k]))
        levels = [str(k) for k in range(self.first, 4)]
        flat = lambda branch: torch.cat([branch[k](maps[int(k)]).flatten(2) for k in levels], 2)
        return flat(self.classes), flat(self.boxes)


def loss_of(logits, raw, targets, grid, stride):
    """Quality focal loss and CIoU on given targets; the same formulas as ours."""
    score, box, weight = targets
    p = torch.sigmoid(logits)
    bce = F.binary_cross_entropy_with_logits(logits, score, reduction="none")
    cls = ((p - score).abs() * bce).sum()
    centre = (grid + raw[:, :2]) * stride
    size = raw[:, 2:].clamp(-5.0, 7.0).exp() * (2.0 * stride)
    low, high = centre - size / 2, centre + size / 2
    tlow, thigh = box[:, :2], box[:, 2:]
    inter = (torch.minimum(high, thigh) - torch.maximum(low, tlow)).clamp(min=0).prod(1)
    tsize = thigh - tlow
    iou = inter / (size.prod(1) + tsize.prod(1) - inter + 1e-9)
    hull = torch.maximum(high, thigh) - torch.minimum(low, tlow)
    distance = (centre - (tlow + thigh) / 2).pow(2).sum(1) / (hull.pow(2).sum(1) + 1e-9)
    v = 0.4052847 * (torch.atan(tsize[:, 0] / tsize[:, 1]) - torch.atan(size[:, 0] / size[:, 1])) ** 2
    with torch.no_grad():
        alpha = v / (1 - iou + v + 1e-9)
    ciou = iou - distance - alpha * v
    return (2.0 * ((1 - ciou) * weight).sum() + cls) / weight.sum()


def anchors_of(size, first):
    grids, strides = [], []
    for stride in [4 << k for k in range(first, 4)]:
        n = size // stride
        y, x = torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")
        grids.append(torch.stack((x, y)).flatten(1) + 0.5)
        strides.append(torch.full((1, n * n), float(stride)))
    return torch.cat(grids, 1), torch.cat(strides, 1)


def targets_of(batch, anchors, generator):
    """About one anchor in a hundred has a face."""
    weight = (torch.rand(batch, anchors, generator=generator) < 0.01).float() * 0.7
    kind = torch.randint(0, 3, (batch, anchors), generator=generator)
    score = F.one_hot(kind, 3).permute(0, 2, 1).float() * weight[:, None]
    low = torch.rand(batch, 2, anchors, generator=generator) * 200
    size = torch.rand(batch, 2, anchors, generator=generator) * 50 + 5
    return score, torch.cat((low, low + size), 1), weight


def tell(a, loss):
    """Waits for all that was asked of a GPU."""
    if loss is not None:
        loss.item()
    elif a.device == "cuda":
        torch.cuda.synchronize()
    if a.stamp:
        print("stamp", time.time(), file=sys.stderr)


def decoder_of():
    """(name, path -> uint8 tensor (3, H, W)). torch itself decodes no pictures."""
    try:
        from torchvision.io import ImageReadMode, read_image
        return "torchvision", lambda path: read_image(path, ImageReadMode.RGB)
    except ImportError:
        pass
    try:
        import numpy
        from PIL import Image
        return "Pillow", lambda path: torch.from_numpy(numpy.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)
    except ImportError:
        pass
    try:
        import cv2
        return "OpenCV", lambda path: torch.from_numpy(cv2.imread(path)[:, :, ::-1].copy()).permute(2, 0, 1)
    except ImportError:
        sys.exit("nothing here decodes pictures: No module named torchvision, PIL or cv2")


class Pictures(torch.utils.data.Dataset):
    """Files of a folder: decoded, resized to the input, flipped and coloured at random."""

    def __init__(self, folder, side, decode):
        self.files = sorted(glob.glob(os.path.join(folder, "*.png")) +
                            glob.glob(os.path.join(folder, "*.jpg")))
        self.side, self.decode = side, decode

    def __len__(self):
        return len(self.files)

    def __getitem__(self, i):
        pixels = self.decode(self.files[i])[None].float()
        pixels = F.interpolate(pixels, (self.side, self.side), mode="bilinear")[0]
        if torch.rand(()) < 0.5:
            pixels = pixels.flip(2)
        gain = 1.0 + 0.4 * (torch.rand(3, 1, 1) - 0.5)
        return (pixels * gain).clamp_(0, 255).to(torch.uint8)


def loader_of(a, decode):
    """Batches without end."""
    data = Pictures(a.loader, a.input, decode)
    sampler = torch.utils.data.RandomSampler(data, replacement=True, num_samples=10**7)
    return iter(torch.utils.data.DataLoader(data, a.batch, sampler=sampler, num_workers=a.workers,
                                            pin_memory=a.device == "cuda", drop_last=True))


class Saver:
    """A checkpoint after each step, in a folder of its own."""

    def __init__(self, mode):
        self.mode, self.folder, self.pending = mode, tempfile.mkdtemp(prefix="bench-save-"), None
        if mode == "async":
            torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(),
                                                 rank=0, world_size=1)

    def save(self, state, step):
        if self.mode == "save":
            path = os.path.join(self.folder, "last.pt")
            with open(path + ".tmp", "wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            os.rename(path + ".tmp", path)
        else:
            import torch.distributed.checkpoint as dcp
            if self.pending:
                self.pending.result()
            self.pending = dcp.async_save(state, checkpoint_id=f"{self.folder}/{step % 2}")

    def close(self):
        if self.pending:
            self.pending.result()
        shutil.rmtree(self.folder)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", default="nano", choices=SIZES)
    parser.add_argument("--input", type=int, default=256)
    parser.add_argument("--stride", type=int, default=8, choices=(4, 8))
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--layout", default="nchw", choices=("nchw", "nhwc"))
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--infer", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--mode", default="default", help="of torch.compile")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--amp", action="store_true")
    parser.add_argument("--group", type=int, default=1)
    parser.add_argument("--warm", type=int, default=2)
    parser.add_argument("--loader")
    parser.add_argument("--workers", type=int, default=min(8, os.cpu_count()))
    parser.add_argument("--save", choices=("save", "async"), help="a checkpoint after each step")
    parser.add_argument("--stamp", action="store_true", help="tell the clock after each step")
    parser.add_argument("--describe", action="store_true", help="print the version and parameters")
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    torch.backends.cudnn.benchmark = True  # as PyTorch's tuning guide has it for shapes that stay the same
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    model = Detector(a.size, a.stride).to(a.device)
    parameters = sum(p.numel() for p in model.parameters())
    if a.describe:
        print(json.dumps({"version": torch.__version__, "parameters": parameters}))
        return
    image = torch.randint(0, 256, (a.batch, 3, a.input, a.input), dtype=torch.uint8,
                          generator=generator)
    if a.layout == "nhwc":
        model = model.to(memory_format=torch.channels_last)
        image = image.contiguous(memory_format=torch.channels_last)
    decay = [p for p in model.parameters() if p.dim() > 1]
    exempt = [p for p in model.parameters() if p.dim() <= 1]
    fused = {"fused": True} if a.device == "cuda" else {}
    optimizer = torch.optim.AdamW([{"params": decay, "weight_decay": 0.01},
                                   {"params": exempt, "weight_decay": 0.0}], lr=1e-3, **fused)
    values = [p for p in model.state_dict().values() if p.is_floating_point()]
    average = [p.clone() for p in values]
    grid, stride = anchors_of(a.input, model.first)
    targets = targets_of(a.batch, grid.shape[1], generator)
    grid, stride = grid.to(a.device), stride.to(a.device)
    if a.device == "cuda":
        image, targets = image.pin_memory(), tuple(x.pin_memory() for x in targets)
    forward = torch.compile(model, mode=a.mode) if a.compile else model
    loss_fn = torch.compile(loss_of, mode=a.mode) if a.compile and a.device == "cuda" else loss_of
    decoder, decode = decoder_of() if a.loader else (None, None)
    pictures = loader_of(a, decode) if a.loader else None

    # a compiled graph's output may be written over from here on, which it cannot know
    begins = getattr(torch.compiler, "cudagraph_mark_step_begin", None) if a.compile and a.device == "cuda" else None

    def train():
        if begins:
            begins()
        batch = next(pictures) if pictures else image
        batch = batch.to(a.device, non_blocking=True)
        target = tuple(x.to(a.device, non_blocking=True) for x in targets)
        if a.layout == "nhwc":
            batch = batch.contiguous(memory_format=torch.channels_last)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(a.device, dtype=torch.bfloat16, enabled=a.amp):
            logits, raw = forward(batch.float() / 255.0)
        loss = loss_fn(logits.float(), raw.float(), target, grid, stride)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_mul_(average, 0.999)
            torch._foreach_add_(average, values, alpha=0.001)
        return loss

    def infer():
        with torch.no_grad():
            logits, raw = forward(image.to(a.device).float() / 255.0)
            torch.sigmoid(logits)
            torch.cat(((grid + raw[:, :2]) * stride, raw[:, 2:].exp() * (2.0 * stride)), 1)

    if a.infer:
        model.eval()
    saver = Saver(a.save) if a.save else None
    seconds = []
    begin, first = time.perf_counter(), 0.0
    for step in range(a.warm):  # at first cuDNN chooses and torch.compile compiles
        loss = infer() if a.infer else train()
        tell(a, loss)
        first = first or time.perf_counter() - begin
        if a.compile:  # whoever stops this sees how far it came
            print(f"warm step {step + 1} after {time.perf_counter() - begin:.1f} s", file=sys.stderr, flush=True)
    for step in range(a.steps):
        start = time.perf_counter()
        for _ in range(a.group):
            loss = infer() if a.infer else train()
        tell(a, loss)
        if saver:
            saver.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(),
                        "average": average}, step)
        seconds.append((time.perf_counter() - start) / a.group)
    if saver:
        saver.close()
    peak, device = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 0
    if a.device == "cuda":
        free, total = torch.cuda.mem_get_info()
        peak, device = torch.cuda.max_memory_allocated() / 2**20, (total - free) / 2**20
    files = {"decoder": decoder, "workers": a.workers} if a.loader else {}
    print(json.dumps({"seconds": seconds, "first": first, "peak_mib": peak, "device_mib": device,
                      "parameters": parameters, **files}))


if __name__ == "__main__":
    main()
