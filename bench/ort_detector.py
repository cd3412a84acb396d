#!/usr/bin/env python3
"""An exported detector in onnxruntime, as a client in Python runs it: the peer of bench/predict.c.

usage: ort_detector.py MODEL.onnx [--network] [--batch N] [--steps N] [--threads N] PICTURE...

MODEL is exported with --nms, but for --network, which is the network alone, on pictures letterboxed before.
A step is a batch of pictures, the next ones of the list: decoded and letterboxed by Pillow (several side by
side, on as many threads), then run at once. Prints one JSON object: seconds a step, after two steps that warm
up, boxes found, the version.
"""
import argparse
import concurrent.futures
import json
import time

import numpy
import onnxruntime
from PIL import Image


def letterboxed(path, side):
    picture = Image.open(path).convert("RGB")
    scale = side / max(picture.size)
    size = [max(1, round(s * scale)) for s in picture.size]
    square = Image.new("RGB", (side, side), (114, 114, 114))
    square.paste(picture.resize(size, Image.Resampling.BILINEAR), [(side - s) // 2 for s in size])
    return numpy.asarray(square, "f4").transpose(2, 0, 1) / 255


def main():
    parser = argparse.ArgumentParser(usage=__doc__.splitlines()[2][7:], description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--network", action="store_true")
    for name, value in (("--batch", 1), ("--steps", 8), ("--threads", 2)):
        parser.add_argument(name, type=int, default=value)
    parser.add_argument("pictures", nargs="+")
    a = parser.parse_args()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = a.threads, 1
    session = onnxruntime.InferenceSession(a.model, options, providers=["CPUExecutionProvider"])
    side = session.get_inputs()[0].shape[-1]
    pool = concurrent.futures.ThreadPoolExecutor(a.threads)
    first, boxes, seconds, batch = 0, 0, [], None

    def load():
        paths = [a.pictures[(first + i) % len(a.pictures)] for i in range(a.batch)]
        rows = [letterboxed(paths[0], side)] if a.batch == 1 else list(pool.map(lambda p: letterboxed(p, side), paths))
        return numpy.stack(rows)

    for _ in range(a.steps + 2):
        start = time.perf_counter()
        if batch is None or not a.network:
            batch = load()
            if a.network:
                start = time.perf_counter()
        found = session.run(None, {"images": batch})[0]
        seconds.append(time.perf_counter() - start)
        boxes += 0 if a.network else int((found[..., 4] > 0).sum())
        first += a.batch
    print(json.dumps({"seconds": seconds[2:], "boxes": boxes, "version": onnxruntime.__version__}))


main()
