#!/usr/bin/env python3
"""usage: split_masks.py ROOT OUT

Divides the training list of the real mask set (datasets/README.md) into a part to train on and a part
to choose by, 4 to 1, without looking at val.txt. Pictures that are nearly the same stay together:
scripts/near_duplicates.py. Writes OUT/train.txt and OUT/choose.txt.
"""
import pathlib
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "scripts"))
from near_duplicates import divide, find_groups  # noqa: E402


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    root, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    names = (root / "train.txt").read_text().split()
    groups = find_groups(names, [root / "images" / f"{name}.png" for name in names])
    (choose,) = divide(groups, [len(names) // 5])
    out.mkdir(parents=True, exist_ok=True)
    (out / "train.txt").write_text("".join(f"{n}\n" for n in names if n not in choose))
    (out / "choose.txt").write_text("".join(f"{n}\n" for n in names if n in choose))
    print(f"{len(names) - len(choose)} to train on, {len(choose)} to choose by; "
          f"{sum(len(g) > 1 for g in groups)} groups of near duplicates")


if __name__ == "__main__":
    main()
