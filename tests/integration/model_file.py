"""A model file seen by others: h5py, h5dump, and the state's hash computed anew from the file."""
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile

WRITER = "build/release/tests/test_model_file"
failed = False


def case(name, ok, why=""):
    global failed
    failed = failed or not ok
    print("ok - " + name if ok else "not ok - %s: %s" % (name, why))


def skip(name, why):
    print("skip - %s: %s" % (name, why))


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def data_sets(file):
    """All of them by path, as bytes."""
    import h5py
    found = {}
    file.visititems(lambda name, item: found.update({"/" + name: item[()].tobytes()})
                    if isinstance(item, h5py.Dataset) else None)
    return found


def state_sha256(file, sets):
    """What src/checkpoint/state_hash.h says."""
    state = hashlib.sha256()
    for path in sorted(sets):
        if re.match("/(ema|optimizer|parameters|statistics)/|/progress/samples$", path):
            state.update(path.encode() + b"\0" + int(file[path].size).to_bytes(8, "little"))
            state.update(sets[path])
    return state.hexdigest()


def check_h5py(path, sha256):
    try:
        import h5py
    except ImportError:
        skip("h5py reads a model file", "there is no h5py")
        return
    with h5py.File(path) as file:
        sets = data_sets(file)
        case("names and shapes", file["parameters/stem.conv.weight"].shape == (8, 3, 3, 3)
             and file["parameters/scale"].shape == () and file["ema/nothing"].shape == (0, 7)
             and file["statistics/stem.norm.mean"].dtype == "<f4", list(sets))
        case("a group is a state dict", set(file["parameters"]) ==
             {"stem.conv.weight", "stem.norm.weight", "head.weight", "scale", "nothing"},
             list(file["parameters"]))
        case("texts", file["run/config"].asstr()[()] == "[train]\nbatch = 16\n"
             and list(file["classes"].asstr()[:]) == ["with_mask", "caf\u00e9", ""],
             (file["run/config"][()], file["classes"][:]))
        case("counters", file["progress/step"][()] == 5 and file["progress/samples"][()] == 80
             and file["progress/epoch"][()] == 2 and file["progress/seed"][()] == 2**64 - 4,
             {k: v[()] for k, v in file["progress"].items()})
        case("every data set is contiguous, without a time",
             all(file[p].chunks is None and file[p].id.get_create_plist().get_obj_track_times() == 0
                 for p in sets), "see h5dump -p")
        names = [n.decode() for n in file["checksums/names"][:]]
        case("all data sets have checksums", names ==
             sorted(set(sets) - {"/checksums/names", "/checksums/crc32c", "/complete"}), names)
        wrong = [n for n, crc in zip(names, file["checksums/crc32c"][:]) if crc32c(sets[n]) != crc]
        case("checksums", not wrong, wrong)
        case("the mark", file["complete"][()] ==
             crc32c(sets["/checksums/names"] + sets["/checksums/crc32c"]), file["complete"][()])
        got = state_sha256(file, sets)
        case("the hash of the state", got == sha256, "%s is not %s" % (got, sha256))


def check_h5dump(path):
    if not shutil.which("h5dump"):
        skip("h5dump reads a model file", "there is no h5dump")
        return
    dump = subprocess.run(["h5dump", path], capture_output=True, text=True)
    case("h5dump reads a model file", dump.returncode == 0 and '"head.weight"' in dump.stdout
         and '"spotgrad-model"' in dump.stdout, dump.stderr[:200])


def main():
    if not os.access(WRITER, os.X_OK):
        print("not ok - %s: is not built" % WRITER)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.h5")
        writer = subprocess.run([WRITER, "--write", path], capture_output=True, text=True)
        sha256 = writer.stdout.strip()
        case("write", writer.returncode == 0 and re.fullmatch("[0-9a-f]{64}", sha256),
             writer.stderr)
        check_h5py(path, sha256)
        check_h5dump(path)
    return failed


sys.exit(main())
