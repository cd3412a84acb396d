#!/usr/bin/env python3
"""Writes coco_cases.txt: random detections and truths, and what pycocotools says about them.

    .venv/bin/python tests/data/make_coco_cases.py > tests/data/coco_cases.txt

with the packages of tests/requirements.txt (pycocotools 2.0.8 with numpy 1.26 writes the same).

Lines:  case NAME classes pictures max_boxes
        picture ID truths found             its truths and boxes follow
        t label xmin ymin xmax ymax
        d label score xmin ymin xmax ymax
        class area label count ap50 ap50_95 recall50   (area 0 all, 1 small, 2 medium, 3 large)
        mean area ap50 ap50_95
        curve area label threshold p0 .. p100
        score area label threshold s0 .. s100
        end
Boxes and scores are exact in f32. nan: no truths."""
import contextlib
import io
import random

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

BELOW_256 = np.nextafter(256.0, 0)
BELOW_1024 = np.nextafter(1024.0, 0)
AREAS = [[0, 1e10], [0, BELOW_256], [256.0, BELOW_1024], [1024.0, 1e10]]


def f32(x):
    return float(np.float32(x))


def random_box(r, size, grid):
    w, h = size * r.uniform(0.7, 1.4), size * r.uniform(0.7, 1.4)
    x, y = r.uniform(0, 400 - w), r.uniform(0, 300 - h)
    box = [x, y, x + w, y + h]
    return [round(v * grid) / grid for v in box] if grid else [f32(v) for v in box]


def moved(r, box, share, grid):
    w, h = box[2] - box[0], box[3] - box[1]
    out = [v + r.gauss(0, share) * s for v, s in zip(box, (w, h, w, h))]
    out = [round(v * grid) / grid if grid else f32(v) for v in out]
    return [min(out[0], out[2]), min(out[1], out[3]), max(out[0], out[2]), max(out[1], out[3])]


def random_picture(r, classes, n_truths, extra, grid, levels, sizes, noise):
    truths, found = [], []

    def score(base):
        s = min(max(base, 0.001), 0.999)
        return round(s * levels) / levels if levels else f32(s)

    for _ in range(n_truths):
        label, box = r.randrange(classes), random_box(r, r.choice(sizes), grid)
        truths.append((label, box))
        for _ in range(r.choice([0, 1, 1, 1, 2])):
            other = label if r.random() < 0.85 else r.randrange(classes)
            found.append((other, score(r.betavariate(3, 2)), moved(r, box, noise, grid)))
    for _ in range(extra):
        found.append((r.randrange(classes), score(r.betavariate(1, 3)),
                      random_box(r, r.choice(sizes), grid)))
    r.shuffle(found)
    return truths, found


def evaluate(classes, max_boxes, pictures):
    truth, found = [], []
    for picture, (truths, detections) in pictures.items():
        for label, b in truths:
            truth.append({"image_id": picture, "category_id": label, "box": b, "iscrowd": 0})
        for label, score, b in detections:
            found.append({"image_id": picture, "category_id": label, "box": b, "iscrowd": 0,
                          "score": score})
    coco = []
    for annotations in (truth, found):
        for i, a in enumerate(annotations):
            b = a.pop("box")
            a["id"] = i + 1
            a["bbox"] = [b[0], b[1], b[2] - b[0], b[3] - b[1]]
            a["area"] = a["bbox"][2] * a["bbox"][3]
        c = COCO()
        c.dataset = {"images": [{"id": p} for p in pictures], "annotations": annotations,
                     "categories": [{"id": k, "name": str(k)} for k in range(classes)]}
        c.createIndex()
        coco.append(c)
    e = COCOeval(coco[0], coco[1], "bbox")
    e.params.areaRng = AREAS
    e.params.areaRngLbl = ["all", "small", "medium", "large"]
    e.params.maxDets = [max_boxes]
    e.evaluate()
    e.accumulate()
    counts = [[sum(1 for a in truth if a["category_id"] == k and lo <= a["area"] <= hi)
               for k in range(classes)] for lo, hi in AREAS]
    return e.eval["precision"], e.eval["recall"], e.eval["scores"], counts


def mean(values):
    values = values[values > -1]
    return "nan" if values.size == 0 else "%.17g" % values.mean()


def write(name, classes, max_boxes, pictures, curves=()):
    with contextlib.redirect_stdout(io.StringIO()):
        precision, recall, scores, counts = evaluate(classes, max_boxes, pictures)
    print("case", name, classes, len(pictures), max_boxes)
    for picture, (truths, found) in pictures.items():
        print("picture", picture, len(truths), len(found))
        for label, b in truths:
            print("t", label, *("%.9g" % v for v in b))
        for label, score, b in found:
            print("d", label, "%.9g" % score, *("%.9g" % v for v in b))
    for area in range(4):
        for k in range(classes):
            print("class", area, k, counts[area][k], mean(precision[0, :, k, area, 0]),
                  mean(precision[:, :, k, area, 0]), mean(recall[0:1, k, area, 0]))
        print("mean", area, mean(precision[0, :, :, area, 0]), mean(precision[:, :, :, area, 0]))
    for area, k, t in curves:
        print("curve", area, k, t, *("%.17g" % v for v in precision[t, :, k, area, 0]))
        print("score", area, k, t, *("%.9g" % v for v in scores[t, :, k, area, 0]))
    print("end")


def random_case(name, seed, classes=3, pictures=6, truths=(0, 8), extra=(0, 10), grid=4,
                levels=1000000, sizes=(6, 12, 24, 48), noise=0.08, max_boxes=128, curves=()):
    r = random.Random(seed)
    levels = 4096 if levels == 1000000 else levels
    numbers = r.sample(range(1000), pictures)  # not in order, with gaps
    write(name, classes, max_boxes,
          {n: random_picture(r, classes, r.randint(*truths), r.randint(*extra), grid, levels, sizes,
                             noise) for n in numbers}, curves)


def main():
    box = [10.0, 10.0, 50.0, 50.0]
    write("nothing_at_all", 2, 128, {1: ([], [])})
    write("no_detections", 2, 128, {1: ([(0, box)], []), 2: ([(1, box)], [])})
    write("no_truths", 2, 128, {1: ([], [(0, 0.5, box)]), 2: ([], [(1, 0.25, box)])})
    write("class_without_truths", 3, 128,
          {1: ([(0, box)], [(0, 0.5, box), (2, 0.75, box)])}, [(0, 0, 0), (0, 0, 9)])
    write("perfect", 1, 128, {4: ([(0, box)], [(0, 1.0, box)])}, [(0, 0, 9)])
    write("duplicates", 1, 128, {1: ([(0, box)], [(0, 0.5, box)] * 5),
                                 2: ([(0, box)] * 3, [(0, 0.5, box)] * 2)}, [(0, 0, 0)])
    write("exact_thresholds", 1, 128,  # IoU of exactly 0.5, 0.75, 0.6, 0.9, 0.8, 0.95, 0.7
          {i: ([(0, [0.0, 0.0, 20.0, 20.0])], [(0, 0.5, [0.0, 0.0, 20.0, 20.0 * s])])
           for i, s in enumerate((0.5, 0.75, 0.6, 0.9, 0.8, 0.95, 0.7))}, [(0, 0, 5)])
    write("edges_of_areas", 1, 128,
          {i: ([(0, [5.0, 5.0, 5.0 + s, 5.0 + s])], [(0, 0.5 + i / 16, [5.0, 5.0, 5.0 + s, 5.0 + s]),
                                                    (0, 0.25, [90.0, 90.0, 90.0 + s, 90.0 + s])])
           for i, s in enumerate((15.75, 16.0, 16.25, 31.75, 32.0, 32.25))}, [(2, 0, 0)])
    write("no_area", 1, 128, {1: ([(0, [5.0, 5.0, 5.0, 9.0]), (0, box)],
                                  [(0, 0.5, [5.0, 5.0, 5.0, 9.0]), (0, 0.25, box)])})
    write("outside_or_inside", 1, 128,  # a small truth and a larger one compete for the boxes
          {1: ([(0, [0.0, 0.0, 15.0, 15.0]), (0, [0.0, 0.0, 17.0, 17.0])],
               [(0, 0.75, [0.0, 0.0, 15.0, 15.0]), (0, 0.5, [0.0, 0.0, 16.0, 16.0]),
                (0, 0.25, [0.0, 0.0, 17.0, 17.0])])}, [(1, 0, 0), (2, 0, 0)])
    random_case("plain", 1, curves=[(0, 0, 0), (0, 1, 5)])
    random_case("equal_scores", 2, levels=1, curves=[(0, 2, 0)])
    random_case("few_scores", 3, levels=4, curves=[(0, 2, 0), (3, 0, 4)])
    random_case("any_floats", 4, grid=0, levels=0, curves=[(1, 0, 0)])
    random_case("tiny", 5, sizes=(1, 2, 3, 5), grid=8)
    random_case("sloppy", 6, noise=0.25)
    random_case("exact", 7, noise=0.01, grid=0)
    random_case("one_class", 8, classes=1, pictures=10, truths=(0, 3))
    random_case("many_classes", 9, classes=9, pictures=4)
    random_case("misses", 10, extra=(20, 30), truths=(1, 3))
    random_case("over_128", 11, classes=1, pictures=2, truths=(40, 60), extra=(130, 150),
                curves=[(0, 0, 0)])
    random_case("over_128_equal", 12, classes=2, pictures=1, truths=(60, 60), extra=(260, 260),
                levels=8)
    random_case("only_5", 13, max_boxes=5, truths=(4, 9))
    random_case("crowded", 14, classes=2, pictures=3, truths=(25, 35), sizes=(60, 90), noise=0.15)
    random_case("grid_of_1", 15, grid=1, sizes=(4, 8, 16, 32), levels=16)
    random_case("many_pictures", 16, pictures=30, truths=(0, 3), extra=(0, 3))


main()
