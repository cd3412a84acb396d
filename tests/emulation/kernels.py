"""Every kernel of cuda/ was launched by the tests under the emulation, and at odd shapes.

Runs after tests/test_cuda_*, in the same tests/run, which gives SG_EMULATION_RECORD: a file a test
program, a line a kernel: "pool.cu max_pool2d_kernel LAUNCHES SHAPES ODD". A kernel passes that was
launched with at least two sets of sizes, and at least once with an odd size over 1 that is no
dimension of the grid: no block, warp or vector of elements divides that, so the tail of the work
was there. Instances of a template count as one kernel."""
import glob
import os
import re
import sys

COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)
KERNEL = re.compile(r"__global__\s+(?:(?:static|inline|void)\s+|__launch_bounds__\([^)]*\)\s*)*(\w+)\s*\(")


def kernels_in(path):
    """Names of the kernels that a source defines; says so where it cannot read one."""
    with open(path, encoding="utf-8") as f:
        text = COMMENT.sub("", f.read())
    names = KERNEL.findall(text)
    count = text.count("__global__")
    if count != len(names):
        print(f"not ok - kernels of {path}: {count} times __global__, but the names found are {names}")
    return names


def launches_in(folder):
    """{"pool.cu max_pool2d_kernel": [launches, the most shapes in one program, whether odd]}"""
    total = {}
    for path in sorted(glob.glob(os.path.join(folder, "*"))):
        with open(path, encoding="utf-8") as f:
            for line in f:
                file, name, count, shapes, odd = line.split()
                t = total.setdefault(f"{file} {name}", [0, 0, False])
                t[0] += int(count)
                t[1] = max(t[1], int(shapes))
                t[2] = t[2] or odd == "1"
    return total


def main():
    folder = os.environ.get("SG_EMULATION_RECORD", "")
    programs = [os.path.basename(p)[:-2] for p in glob.glob("tests/test_cuda_*.c")]
    absent = [p for p in programs if not os.path.exists(os.path.join(folder, p))]
    if absent:
        print(f"not ok - kernels: no record of {', '.join(sorted(absent))}; run after them: make unit")
        return 1
    launched = launches_in(folder)
    failed = 0
    for path in sorted(glob.glob("cuda/**/*.cu", recursive=True)):
        for name in kernels_in(path):
            count, shapes, odd = launched.pop(f"{os.path.basename(path)} {name}", (0, 0, False))
            why = "never launched" if count == 0 else "one shape only" if shapes < 2 else "no odd size"
            if shapes > 1 and odd:
                print(f"ok - {path}: {name}, {count} launches, {shapes} shapes")
            else:
                print(f"not ok - {path}: {name}: {why} under the emulation")
                failed = 1
    for unknown in launched:
        print(f"not ok - {unknown}: launched, but no kernel of that name is in cuda/")
        failed = 1
    return failed


sys.exit(main())
