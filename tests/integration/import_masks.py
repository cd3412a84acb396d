"""scripts/import-masks on a small archive made here, with planted duplicates."""
import os
import pathlib
import random
import signal
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib

sys.dont_write_bytecode = True
sys.path.insert(0, "scripts")
import near_duplicates  # noqa: E402

failed = False


def case(name, ok, why=""):
    global failed
    failed = failed or not ok
    print("ok - " + name if ok else "not ok - %s: %s" % (name, why))


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def predict(kind, left, up, corner):
    if kind == 4:
        far = [abs(left + up - corner - x) for x in (left, up, corner)]
        return (left, up, corner)[far.index(min(far))]
    return (0, left, up, (left + up) // 2)[kind]


def png(width, height, samples, colour, kinds, depth=8, palette=b""):
    """`samples`: bytes, rows without padding; `kinds`: filters, row by row in turn."""
    step = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour] * depth // 8
    stride, raw, before = width * step, bytearray(), bytes(width * step)
    for y in range(height):
        row, kind = samples[y * stride:(y + 1) * stride], kinds[y % len(kinds)]
        raw.append(kind)
        for i, x in enumerate(row):
            left, corner = (row[i - step], before[i - step]) if i >= step else (0, 0)
            raw.append((x - predict(kind, left, before[i], corner)) & 255)
        before = row
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
            + (chunk(b"PLTE", palette) if palette else b"")
            + chunk(b"IDAT", zlib.compress(bytes(raw))) + chunk(b"IEND", b""))


def scene(seed, width=40, height=30, noise=0):
    """Blocks of random colours, RGB; noise varies the pixels a little."""
    colours, grain = random.Random(seed), random.Random(noise)
    blocks = [[[colours.randrange(20, 235) for _ in range(3)] for _ in range(20)] for _ in range(15)]
    return bytes(c + (grain.randrange(-9, 10) if noise else 0) for y in range(height) for x in range(width)
                 for c in blocks[y * 15 // height][x * 20 // width])


def check_decoder():
    rgb = scene(1, noise=3)
    grey = bytes((19595 * r + 38470 * g + 7471 * b + 32768) >> 16
                 for r, g, b in zip(rgb[0::3], rgb[1::3], rgb[2::3]))
    want = near_duplicates.thumbnails(png(40, 30, rgb, 2, [0]))
    for kind, name in enumerate(("none", "sub", "up", "average", "paeth")):
        case(f"PNG filter {name}", near_duplicates.thumbnails(png(40, 30, rgb, 2, [kind])) == want, "differs")
    case("PNG filters in turn", near_duplicates.thumbnails(png(40, 30, rgb, 2, [4, 1, 3, 0, 2])) == want, "differs")
    rgba = b"".join(rgb[i:i + 3] + b"\x80" for i in range(0, len(rgb), 3))
    case("RGBA", near_duplicates.thumbnails(png(40, 30, rgba, 6, [4, 3])) == want, "differs")
    deep = bytes(x for c in rgb for x in (c, 77))
    case("16 bits", near_duplicates.thumbnails(png(40, 30, deep, 2, [4, 3], depth=16)) == want, "differs")
    want = near_duplicates.thumbnails(png(40, 30, grey, 0, [3]))
    greys = bytes(c for i in range(256) for c in (i, i, i))
    case("palette", near_duplicates.thumbnails(png(40, 30, grey, 3, [4], palette=greys)) == want, "differs")
    # cells of 40 x 30 by hand: 2.5 columns and 1.875 rows
    by_hand = sum(grey[y * 40 + x] * wx * wy for y, wy in ((0, 1), (1, 0.875)) for x, wx in ((0, 1), (1, 1), (2, 0.5)))
    case("a cell by hand", abs(want[0][0] - by_hand / (2.5 * 1.875)) <= 0.5, f"{want[0][0]} {by_hand}")


def check_workers(work):
    """None is waited for that has not looked at a signal; `deaf` stands for that."""
    (work / "one.png").write_bytes(png(40, 30, scene(1), 2, [0]))
    deaf = ("import signal, sys\nsys.path.insert(0, 'scripts')\nimport near_duplicates\n"
            "signal.signal(signal.SIGTERM, lambda *_: None)\n"
            "near_duplicates.os.cpu_count = lambda: 16\n"
            "print(near_duplicates.find_groups(['one'], [sys.argv[1]]))\n")
    process = subprocess.Popen([sys.executable, "-c", deaf, work / "one.png"], stdout=subprocess.PIPE, text=True,
                               start_new_session=True)
    try:
        case("workers end", process.communicate(timeout=30)[0] == "[['one']]\n")
    except subprocess.TimeoutExpired:
        case("workers end", False, "they do not")
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def make_archive(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def example():
    """30 scenes; 4 to 11 are pairs: the same bytes, the same scene with noise."""
    files = {"__MACOSX/images/._p0.png": b"no", "readme.txt": b"hello"}
    for i in range(30):
        kin = i % 2 == 1 and 4 <= i < 12
        rgb = scene(i - 1 if kin else i, noise=i if kin and i > 7 else 0)
        files[f"archive/images/p{i}.png"] = png(40, 30, rgb, 2, [4, 1, 3, 0, 2])
        files[f"archive/annotations/p{i}.xml"] = (
            "<annotation><object><name>face</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax>"
            "<ymax>9</ymax></bndbox></object></annotation>").encode()
    return files


def run(*arguments):
    return subprocess.run(["scripts/import-masks", *map(str, arguments)], capture_output=True, text=True)


def lists_of(folder):
    return {part: (folder / f"{part}.txt").read_text().split() for part in ("train", "val", "test")}


def check_import(work):
    files, archive, out = example(), work / "a.zip", work / "out"
    make_archive(archive, files)
    done = run(archive, out)
    case("an archive", done.returncode == 0 and "kept together" in done.stdout, done.stderr)
    parts = lists_of(out)
    case("80/10/10", [len(parts[p]) for p in ("train", "val", "test")] == [24, 3, 3], parts)
    case("each picture once", sorted(sum(parts.values(), [])) == sorted(f"p{i}" for i in range(30)), parts)
    where = {name: part for part, names in parts.items() for name in names}
    case("duplicates together", all(where[f"p{i}"] == where[f"p{i + 1}"] for i in range(4, 12, 2)), parts)
    case("four pairs are found", "8 near duplicates in 4 groups" in done.stdout, done.stdout)
    case("bytes as they are", all((out / name.split("/", 1)[1]).read_bytes() == data
                                  for name, data in files.items() if name.startswith("archive/")))
    case("nothing else", sorted(os.listdir(out)) == ["annotations", "images", "test.txt", "train.txt", "val.txt"]
         and len(os.listdir(out / "images")) == 30)
    again = run(archive, out)
    case("OUT is not overwritten", again.returncode == 74 and again.stderr ==
         f"import-masks: {out}: is there already; choose another name\n", again.stderr)
    with zipfile.ZipFile(archive) as unpacked:
        unpacked.extractall(work / "folder")
    done = run(work / "folder", work / "second")
    case("a folder, the same lists", done.returncode == 0 and lists_of(work / "second") == parts, done.stderr)
    run(archive, work / "third", "--val", 20, "--test", 0)
    case("other shares", len((work / "third/val.txt").read_text().split()) == 6
         and not (work / "third/test.txt").exists())
    (work / "fourth").mkdir()
    done = subprocess.run(["sh", "-c", 'mkdir "$1/out.$$.tmp"; exec scripts/import-masks "$0" "$1/out"', archive,
                           work / "fourth"], capture_output=True, text=True)
    case("another machine's process of that number", done.returncode == 0 and len(os.listdir(work / "fourth")) == 2,
         done.stderr)
    checked = subprocess.run(["bin/train", "--check-data", f"data.root={out}"], capture_output=True, text=True)
    case("--check-data", checked.returncode == 0 and "30 pictures, 30 boxes, 0 errors" in checked.stdout,
         checked.stdout)


def check_faults(work):
    files = example()
    one = "archive/images/p0.png"
    for name, change, status, text in (
            ("no annotation", {"archive/annotations/p3.xml": None}, 65, "p3 has no annotation"),
            ("no picture", {one: None}, 65, "p0 has no picture"),
            ("cut picture", {one: files[one][:90]}, 65, "p0.png: is cut off"),
            ("no PNG", {one: b"GIF89a"}, 65, "p0.png: is no PNG"),
            ("strange name", {"archive/images/a\nb.png": b""}, 65, "letters, digits"),
            ("two of a name", {"other/images/p0.png": b""}, 65, "have the same name")):
        changed = {n: d for n, d in {**files, **change}.items() if d is not None}
        make_archive(work / "bad.zip", changed)
        done = run(work / "bad.zip", work / "bad")
        case(name, done.returncode == status and text in done.stderr and done.stderr.count("\n") == 1, done.stderr)
    (work / "bad.zip").write_bytes(b"no archive")
    done = run(work / "bad.zip", work / "bad")
    case("no archive", done.returncode == 65 and "neither a folder nor a .zip" in done.stderr, done.stderr)
    whole = bytearray((work / "a.zip").read_bytes())
    whole[whole.index(b"IDAT") + 30] ^= 255
    (work / "bad.zip").write_bytes(whole)
    done = run(work / "bad.zip", work / "bad")
    case("damaged archive", done.returncode == 65 and "Bad CRC-32" in done.stderr, done.stderr)
    make_archive(work / "bad.zip", {"../../images/x.png": files[one],
                                    "../../annotations/x.xml": b"<annotation/>"})
    done = run(work / "bad.zip", work / "deep/er/bad", "--val", 0, "--test", 0)
    case("a path out of the archive", done.returncode == 0 and (work / "deep/er/bad/images/x.png").exists()
         and not (work / "images").exists(), done.stderr)
    case("missing archive", run(work / "none.zip", work / "bad").returncode == 66)
    case("usage", run(work / "a.zip").returncode == 64 and run("a", "b", "--val", "80").returncode == 64)
    left = [name for name in os.listdir(work) if name.startswith("bad") and name != "bad.zip"]
    case("nothing is left of a failure", not left, left)


def main():
    with tempfile.TemporaryDirectory() as folder:
        check_decoder()
        check_workers(pathlib.Path(folder))
        check_import(pathlib.Path(folder))
        check_faults(pathlib.Path(folder))
    return failed


if __name__ == "__main__":
    sys.exit(main())
