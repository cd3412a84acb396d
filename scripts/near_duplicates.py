"""Which pictures are nearly the same, and how to divide a set so that those stay together.

For scripts/import-masks and datasets/split_masks.py; Python's own library alone. Two pictures are
near duplicates when their 16 x 16 grey thumbnails correlate by more than 0.85, or fewer than 45 of
the 256 bits of their difference hashes (is a cell of 17 x 16 brighter than its left neighbour?)
differ. Thumbnails are sums of whole numbers and a division's groups are put in the order of a hash
of their first name, so the outcome is the same on every machine.
"""
import concurrent.futures
import hashlib
import itertools
import math
import operator
import os
import struct
import zlib

CELLS = 16
MAX_PIXELS = 1 << 26
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a PNG's colour types


class BadPicture(Exception):
    pass


def read_chunks(data):
    """(kind, content) of a PNG's chunks up to its end."""
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        raise BadPicture("is no PNG")
    at = 8
    while at + 12 <= len(data):
        size, kind = struct.unpack(">I4s", data[at:at + 8])
        content = data[at + 8:at + 8 + size]
        if len(content) < size:
            break
        if kind == b"IEND":
            return
        yield kind, content
        at += 12 + size
    raise BadPicture("is cut off")


def average(row, before, step):
    out = bytearray(len(row))
    for channel in range(step):
        left, values = 0, []
        for x, up in zip(row[channel::step], before[channel::step]):
            left = (x + ((left + up) >> 1)) & 255
            values.append(left)
        out[channel::step] = bytes(values)
    return out


def paeth(row, before, step):
    out = bytearray(len(row))
    for channel in range(step):
        left = corner = 0
        values = []
        for x, up in zip(row[channel::step], before[channel::step]):
            to_left, to_up = up - corner, left - corner
            to_corner = abs(to_left + to_up)
            if to_left < 0:
                to_left = -to_left
            if to_up < 0:
                to_up = -to_up
            if to_left > to_up or to_left > to_corner:
                left = up if to_up <= to_corner else corner
            left = (left + x) & 255
            values.append(left)
            corner = up
        out[channel::step] = bytes(values)
    return out


def add_left(row, step):
    out = bytearray(len(row))
    for channel in range(step):
        out[channel::step] = bytes(x & 255 for x in itertools.accumulate(row[channel::step]))
    return out


def add_above(row, before):
    """All bytes at once: seven bits are added, the eighth is put in by hand."""
    n = len(row)
    a, b = int.from_bytes(row, "little"), int.from_bytes(before, "little")
    low = int.from_bytes(b"\x7f" * n, "little")
    return (((a & low) + (b & low)) ^ ((a ^ b) & ~low)).to_bytes(n, "little")


def grey_rows(data):
    """(width, height, rows): a list of whole numbers, 65536 times the brightness, a row."""
    header, palette, packed = None, b"", []
    for kind, content in read_chunks(data):
        if kind == b"IHDR" and len(content) == 13:
            header = struct.unpack(">IIBBBBB", content)
        elif kind == b"PLTE":
            palette = content
        elif kind == b"IDAT":
            packed.append(content)
    if not header or not packed:
        raise BadPicture("has no picture in it")
    width, height, depth, colour, _, _, interlaced = header
    if not 0 < width * height <= MAX_PIXELS:
        raise BadPicture(f"is {width} x {height} pixels large")
    if interlaced or depth not in (8, 16) or colour not in CHANNELS:
        raise BadPicture("is interlaced or has fewer than 8 bits a colour; "
                         "write it anew as an ordinary 8-bit PNG")
    channels, size = CHANNELS[colour], depth // 8
    step, stride = channels * size, width * channels * size
    raw = zlib.decompressobj().decompress(b"".join(packed), (stride + 1) * height)
    if len(raw) != (stride + 1) * height:
        raise BadPicture("is cut off")
    return width, height, unfiltered(raw, stride, step, size, channels, palette)


def unfiltered(raw, stride, step, size, channels, palette):
    row = bytes(stride)
    lookup = [19595 * r + 38470 * g + 7471 * b
              for r, g, b in zip(palette[0::3], palette[1::3], palette[2::3])]
    for at in range(0, len(raw), stride + 1):
        kind, line = raw[at], raw[at + 1:at + 1 + stride]
        if kind == 0:
            row = line
        elif kind == 1:
            row = add_left(line, step)
        elif kind == 2:
            row = add_above(line, row)
        elif kind == 3:
            row = average(line, row, step)
        elif kind == 4:
            row = paeth(line, row, step)
        else:
            raise BadPicture(f"has a row of the unknown kind {kind}")
        if palette and channels == 1:
            yield [lookup[i] if i < len(lookup) else 0 for i in row]
        elif channels < 3:
            yield [65536 * grey for grey in row[0::step]]
        else:
            yield [19595 * r + 38470 * g + 7471 * b
                   for r, g, b in zip(row[0::step], row[size::step], row[2 * size::step])]


def cells_of_row(prefix, row, n):
    """Sums of a row over n equal parts, times n; `prefix` are its running sums from 0."""
    width, edges = len(row), []
    for k in range(n + 1):
        whole, part = divmod(k * width, n)
        edges.append(n * prefix[whole] + (part * row[whole] if part else 0))
    return list(map(operator.sub, edges[1:], edges))


def thumbnails(data):
    """Grey cells 0..255, (16 x 16) and (16 rows of 17), as lists."""
    width, height, rows = grey_rows(data)
    sums = [[[0] * n for _ in range(CELLS)] for n in (CELLS, CELLS + 1)]
    for y, row in enumerate(rows):
        prefix = list(itertools.accumulate(row, initial=0))
        parts = [cells_of_row(prefix, row, n) for n in (CELLS, CELLS + 1)]
        start, end = y * CELLS, (y + 1) * CELLS  # of this row, where a cell is `height` high
        for v in range(start // height, min(CELLS, (end - 1) // height + 1)):
            share = min(end, (v + 1) * height) - max(start, v * height)
            for whole, part in zip(sums, parts):
                whole[v] = [a + share * b for a, b in zip(whole[v], part)]
    area = width * height << 16
    return [[(2 * cell + area) // (2 * area) for line in whole for cell in line] for whole in sums]


def features(path):
    """(difference hash, thumbnail of mean 0 and length 1, hash of the file)."""
    with open(path, "rb") as file:
        data = file.read()
    try:
        small, wide = thumbnails(data)
    except (BadPicture, zlib.error) as why:
        raise BadPicture(f"{path}: {why}") from None
    n = CELLS + 1
    bits = 0
    for y in range(CELLS):
        for x in range(CELLS):
            bits = bits << 1 | (wide[y * n + x + 1] > wide[y * n + x])
    mean = sum(small) / len(small)
    small = [x - mean for x in small]
    length = math.sqrt(sum(x * x for x in small)) + 1e-6
    return bits, [x / length for x in small], hashlib.sha256(data).digest()


def near(a, b):
    return (a[2] == b[2] or bin(a[0] ^ b[0]).count("1") < 45
            or sum(map(operator.mul, a[1], b[1])) > 0.85)


def find_groups(names, paths):
    """Lists of names; what is near to something of a group belongs to it."""
    # multiprocessing.Pool would end workers by SIGTERM. One that inherits a handler of Python's and gets it
    # just before it waits does not look at it, and is waited for.
    with concurrent.futures.ProcessPoolExecutor(min(os.cpu_count() or 1, 16)) as pool:
        found = list(pool.map(features, paths, chunksize=8))
    group = list(range(len(names)))

    def first(i):
        while group[i] != i:
            group[i] = group[group[i]]
            i = group[i]
        return i

    for i, a in enumerate(found):
        for j in range(i):
            if near(a, found[j]):
                low, high = sorted((first(i), first(j)))
                group[high] = low
    together = {}
    for i, name in enumerate(names):
        together.setdefault(first(i), []).append(name)
    return list(together.values())


def divide(groups, sizes):
    """Sets of at most `sizes` names; each group goes whole to the first that has room for it, or
    to none."""
    parts = [set() for _ in sizes]
    for group in sorted(groups, key=lambda g: hashlib.sha256(min(g).encode()).hexdigest()):
        for part, size in zip(parts, sizes):
            if len(part) + len(group) <= size:
                part.update(group)
                break
    return parts
