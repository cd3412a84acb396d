"""The stored cases of average precision are what pycocotools says today."""
import subprocess
import sys

STORED = "tests/data/coco_cases.txt"


def same(a, b):
    if a == b:
        return True
    try:
        return abs(float(a) - float(b)) <= 1e-12
    except ValueError:
        return False


def main():
    try:
        import pycocotools  # noqa: F401
    except ImportError:
        print("skip - stored cases of average precision: there is no pycocotools")
        return 0
    made = subprocess.run([sys.executable, "tests/data/make_coco_cases.py"], capture_output=True,
                          text=True)
    if made.returncode != 0:
        print("not ok - stored cases of average precision:", made.stderr.strip().split("\n")[-1])
        return 1
    now = made.stdout.split()
    with open(STORED) as file:
        stored = file.read().split()
    differ = [i for i, (a, b) in enumerate(zip(now, stored)) if not same(a, b)]
    if differ or len(now) != len(stored):
        print("not ok - stored cases of average precision: %d of %d words differ from %s"
              % (len(differ), len(now), STORED))
        return 1
    print("ok - stored cases of average precision")
    return 0


sys.exit(main())
