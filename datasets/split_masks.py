#!/usr/bin/env python3
"""usage: split_masks.py ROOT OUT      (needs numpy and pillow)

Divides the training list of the real mask set (datasets/README.md) into a part to train on and a part
to choose by, 4 to 1, without looking at val.txt. Pictures that are nearly the same stay together:
joined where two 16 x 16 grey thumbnails correlate by more than 0.85 or their difference hashes have
fewer than 45 of 256 bits apart. Groups are put in the order of a hash of their first name, so the
division is the same on every machine. Writes OUT/train.txt and OUT/choose.txt.
"""
import hashlib
import pathlib
import sys

import numpy
from PIL import Image


def features(path):
    grey = Image.open(path).convert("L")
    wide = numpy.asarray(grey.resize((17, 16), Image.BOX), dtype=float)
    small = numpy.asarray(grey.resize((16, 16), Image.BOX), dtype=float)
    small = (small - small.mean()) / (small.std() + 1e-6) / 16.0
    return (wide[:, 1:] > wide[:, :-1]).ravel(), small.ravel()


def groups_of(names, root):
    found = [features(root / "images" / f"{name}.png") for name in names]
    bits = numpy.array([f[0] for f in found])
    grey = numpy.array([f[1] for f in found])
    near = (grey @ grey.T > 0.85) | ((bits[:, None] != bits[None]).sum(2) < 45)
    group = list(range(len(names)))

    def first(i):
        while group[i] != i:
            i = group[i]
        return i

    for i, j in zip(*numpy.nonzero(near)):
        a, b = sorted((first(i), first(j)))
        group[b] = a
    together = {}
    for i, name in enumerate(names):
        together.setdefault(first(i), []).append(name)
    return list(together.values())


def main():
    root, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    names = [line.strip() for line in open(root / "train.txt") if line.strip()]
    groups = groups_of(names, root)
    groups.sort(key=lambda g: hashlib.sha256(min(g).encode()).hexdigest())
    choose = set()
    for group in groups:
        if len(choose) + len(group) <= len(names) // 5:
            choose.update(group)
    out.mkdir(parents=True, exist_ok=True)
    (out / "train.txt").write_text("".join(f"{n}\n" for n in names if n not in choose))
    (out / "choose.txt").write_text("".join(f"{n}\n" for n in names if n in choose))
    print(f"{len(names) - len(choose)} to train on, {len(choose)} to choose by; "
          f"{sum(len(g) > 1 for g in groups)} groups of near duplicates")


if __name__ == "__main__":
    main()
