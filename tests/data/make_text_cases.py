#!/usr/bin/env python3
"""Writes text_cases.txt: random truths and predictions, and what scikit-learn says about them.

    pip install scikit-learn==1.7.2
    python tests/data/make_text_cases.py > tests/data/text_cases.txt

Lines:  case NAME classes texts parts
        part n, then n pairs `truth prediction`   (parts are pooled)
        confusion c00 c01 ..                      (rows are truths)
        class label precision recall f1 count
        accuracy A
        macro_f1 F
        macro_recall R
        f1 label F                                (of one class)
        mean_f1 label label F                     (of two)
        end
What scikit-learn divides by 0 is 0. The macro means are over the labels that occur, as TweetEval's
script has them (classification_report without `labels`)."""
import random

from sklearn.metrics import (accuracy_score, classification_report, confusion_matrix, f1_score,
                             precision_recall_fscore_support, recall_score)

CASES = [  # name, classes, texts of each part, weights of the truths, share that is right
    ("even", 3, [200], [1, 1, 1], 0.6),
    ("emoji", 20, [1000], [20 - i for i in range(20)], 0.3),
    ("sentiment", 3, [500], [7, 20, 17], 0.7),
    ("irony", 2, [301], [1, 1], 0.65),
    ("stance", 3, [66, 52, 40, 67, 69], [1, 2, 1], 0.7),
    ("spam", 2, [557], [6, 1], 0.98),
    ("perfect", 4, [37], [1, 1, 1, 1], 1.0),
    ("always-wrong", 2, [20], [1, 1], 0.0),
    ("one-text", 3, [1], [0, 1, 0], 1.0),
    ("no-truth-of-the-last", 4, [60], [3, 2, 1, 0], 0.5),
    ("two-never-seen", 5, [40], [1, 0, 1, 0, 1], None),
    ("one-class-predicted", 3, [50], [1, 2, 3], "first"),
]


def predict(r, classes, truth, how, weights):
    if how == "first":
        return 0
    if how is None:  # never a class without truths
        return r.choice([c for c in range(classes) if weights[c]])
    if r.random() < how:
        return truth
    return r.choice([c for c in range(classes) if c != truth])


def main():
    r = random.Random(6)
    for name, classes, sizes, weights, how in CASES:
        parts = []
        for n in sizes:
            truths = r.choices(range(classes), weights, k=n)
            parts.append([(t, predict(r, classes, t, how, weights)) for t in truths])
        truths = [t for part in parts for t, _ in part]
        found = [p for part in parts for _, p in part]
        labels = list(range(classes))
        print("case", name, classes, len(truths), len(parts))
        for part in parts:
            print("part", len(part), *(f"{t} {p}" for t, p in part))
        print("confusion", *confusion_matrix(truths, found, labels=labels).ravel())
        for c, row in enumerate(zip(*precision_recall_fscore_support(
                truths, found, labels=labels, zero_division=0))):
            print("class", c, *(repr(float(v)) for v in row[:3]), row[3])
        report = classification_report(truths, found, output_dict=True, zero_division=0)
        print("accuracy", repr(float(accuracy_score(truths, found))))
        print("macro_f1", repr(float(report["macro avg"]["f1-score"])))
        print("macro_recall", repr(float(report["macro avg"]["recall"])))
        assert report["macro avg"]["recall"] == recall_score(truths, found, average="macro",
                                                             zero_division=0)
        for c in labels:
            f1 = f1_score(truths, found, labels=[c], average="macro", zero_division=0)
            print("f1", c, repr(float(f1)))
        a, b = (1, 2) if classes > 2 else (0, 1)
        mean = f1_score(truths, found, labels=[a, b], average="macro", zero_division=0)
        print("mean_f1", a, b, repr(float(mean)))
        print("end")


main()
