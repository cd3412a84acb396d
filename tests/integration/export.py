"""Exported models: what onnxruntime, the newest and the oldest that pip installs, computes with them,
beside our own engine (tests/export/engine.c); and the scripts of docs/serving.md as a stranger runs
them. Small models, trained here; on the pictures and some texts of $SPOTGRAD_DATA, or on drawn ones.

    .venv/bin/python tests/integration/export.py RUN...     also detectors that are there, and all texts"""
# time limit: 600
import ast
import collections
import configparser
import glob
import hashlib
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
from urllib.parse import unquote, unquote_to_bytes

ENGINE = "build/release/tests/export/engine"
OLDEST = ".venv/oldest"
OTHERWISE = ["train.threads=1", "run.isa=native"]  # no file may depend on these
failed = False
said = {}  # by bin/export, of each file
work = pathlib.Path(tempfile.mkdtemp(prefix="spotgrad-export-"))
data = os.environ.get("SPOTGRAD_DATA")
runs = list(map(pathlib.Path, sys.argv[1:]))


def case(name, ok, why=""):
    global failed
    failed = failed or not ok
    print("ok - " + name if ok else "not ok - %s: %s" % (name, str(why)[:600].replace("\n", " | ")), flush=True)


def skip(name, why):
    print("skip - %s: %s" % (name, why), flush=True)


def run(command, folder=None, stdin=None):
    """Standard output; whoever fails says why. `folder`: of Python packages to prefer."""
    environment = dict(os.environ, **({"PYTHONPATH": folder} if folder else {}))
    done = subprocess.run(list(map(str, command)), input=stdin, capture_output=True, env=environment, timeout=500)
    if done.returncode != 0:
        raise RuntimeError("%s: %s" % (" ".join(map(str, command))[:200], done.stderr.decode()[-600:]))
    return done.stdout.decode()


def export(run_folder, name, *arguments):
    path = work / (name + ".onnx")
    said[path] = run(["bin/export", "--checkpoint", run_folder, "--output", path, *arguments])
    return path


def check_file(name, path, expected, again=None):
    """What is true of all of them; `expected`: the metadata; `again`: the arguments of another export of the same."""
    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.load(path)
    case("%s: onnx.checker, opset 17, IR 8" % name, model.ir_version == 8 and
         [(o.domain, o.version) for o in model.opset_import] == [("", 17)], (model.ir_version, model.opset_import))
    found = {p.key: READ.get(p.key, str)(p.value) for p in model.metadata_props}
    wrong = {k: (found.get(k), expected.get(k)) for k in {*found, *expected} if found.get(k) != expected.get(k)}
    case("%s: %d metadata" % (name, len(expected)), len(model.metadata_props) == len(found) and not wrong, wrong)
    if again:
        case("%s: the same bytes again, by one thread and other instructions" % name,
             export(*again, *OTHERWISE).read_bytes() == path.read_bytes(), path)


# values that are not plain words
READ = {**dict.fromkeys(["names", "imgsz", "args"], ast.literal_eval),
        **{"spotgrad." + k: json.loads for k in ("metrics", "input", "letterbox", "boxes", "tasks", "int8")}}


def config_of(model):
    """What it was trained with."""
    config = configparser.ConfigParser(interpolation=None)
    with h5py.File(model / "best.h5") as file:
        config.read_string(file["run/config"][()].decode())
    return config


def about(model, kind):
    """Metadata of all models."""
    version = run(["bin/export", "--version"]).split()[1]
    with h5py.File(model / "best.h5") as file:
        said = lambda key: file["run/" + key][()].decode()
        evaluations = [line for line in said("history").splitlines() if line.startswith('{"step"')]
        return {"description": kind + ", trained with Spotgrad", "author": "Spotgrad", "version": version,
                "spotgrad.version": version, "spotgrad.model": kind, "spotgrad.run_id": said("id"),
                "spotgrad.step": str(file["progress/step"][()]), "spotgrad.epoch": str(file["progress/epoch"][()]),
                "spotgrad.data_sha256": said("data_fingerprint")[:64], "spotgrad.metrics": json.loads(evaluations[-1])}


def about_int8(path, expected):
    """With what --int8 adds: what it has said, in four digits."""
    name, after, before = re.match(r"int8: (\w+) ([0-9.]+) on .*, ([0-9.]+) in floats: ", said[path]).groups()
    told = json.loads(next(p.value for p in onnx.load(path).metadata_props if p.key == "spotgrad.int8"))
    close = lambda key, digits: told[key] if abs(told.get(key, -1) - float(digits)) < 6e-5 else float(digits)
    return {**expected, "spotgrad.int8": {"seen": 64, name: close(name, after), "before": close("before", before)}}


def answers(path, inputs, batches, runtime):
    """For each size of batches the outputs by name, and what answers.py says about the model."""
    asked, told = work / "asked.npz", work / "told.npz"
    numpy.savez(asked, **inputs)
    command = [sys.executable, "tests/export/answers.py", path, ",".join(map(str, batches)), asked, told]
    about = json.loads(run(command, runtimes[runtime]))
    found = {batch: {} for batch in batches}
    for key, value in numpy.load(told).items():
        batch, name = key.split("/", 1)
        found[int(batch)][name] = value
    return found, about


# --- pictures -------------------------------------------------------------------------------------


def beyond(theirs, ours):
    """Of raw outputs the largest distance, in units of the largest value of ours, of any sample: boxes and
    scores each among themselves."""
    part = lambda rows: (numpy.abs(theirs - ours)[:, rows].max((1, 2)) / numpy.abs(ours)[:, rows].max((1, 2))).max()
    return numpy.max([part(slice(4)), part(slice(4, None))])  # NaN stays


SMALL = ["data.synthetic=120", "data.synthetic_side=160", "model.input=96", "model.stride=8", "train.epochs=6",
         "train.eval_every=6", "run.plots=false"]
SCORE = ["predict.score=0.06"]  # a model that has seen so little is sure of nothing


def train_detector():
    run(["bin/train", "--config", "configs/mask-demo.ini", "run.dir=%s" % (work / "masks"), "data.root=%s" % (work / "drawn"), *SMALL])
    return work / "masks"


def pictures():
    if not data:
        skip("pictures of the val part", "no $SPOTGRAD_DATA; drawn ones instead")
        return sorted(glob.glob("%s/images/*.png" % (work / "drawn")))[:40]
    names = pathlib.Path(data, "masks/val.txt").read_text().split()
    return ["%s/masks/images/%s.png" % (data, name) for name in names]


def engine_pictures(model, files):
    """Inputs (n, 3, S, S), boxes (n, A, 4), scores (n, A, classes)."""
    shape = json.loads(run([ENGINE, model / "best.h5", "pictures", work, *files]))
    side, a, c = shape["side"], shape["anchors"], shape["classes"]
    read = lambda name, kind, *rest: numpy.fromfile(work / name, kind).reshape(-1, *rest)
    return read("input.u8", "u1", 3, side, side), read("boxes.f32", "<f4", a, 4), read("scores.f32", "<f4", a, c)


def odd_pictures(file):
    """Two that have to be turned, and others that are no 8-bit RGB; small ones."""
    with Image.open(file) as picture:
        picture = picture.convert("RGB")
    exif, alpha = Image.Exif(), picture.copy()
    exif[0x112] = 6  # orientation
    for name in ("turned.jpg", "turned.png"):
        picture.transpose(Image.Transpose.ROTATE_90).save(work / name, quality=95, exif=exif)
    x, y = numpy.meshgrid(numpy.arange(picture.width), numpy.arange(picture.height))
    alpha.putalpha(Image.fromarray((255 - (x + 3 * y) % 200).astype("u1")))
    alpha.save(work / "clear.png")
    Image.fromarray((numpy.array(picture.convert("L")) * 255.0 + x % 256).astype("u2")).save(work / "deep.png")
    picture.quantize(32).save(work / "palette.png", transparency=5)
    return [str(work / name) for name in ("turned.jpg", "turned.png", "clear.png", "deep.png", "palette.png")]


def raw_output(boxes, scores):
    """As the ultralytics layout has it: (n, 4 + classes, A), boxes by centre and size."""
    low, high = boxes[..., :2].astype("f8"), boxes[..., 2:].astype("f8")
    return numpy.concatenate([(low + high) / 2, high - low, scores], 2).transpose(0, 2, 1)


def predicted(model, files):
    """Of each file its (label, score, box)."""
    lines = run(["bin/predict", "--checkpoint", model, "--json", *files, *SCORE]).splitlines()
    corners = ("xmin", "ymin", "xmax", "ymax")
    return [[(b["class"], b["score"], [b[k] for k in corners]) for b in json.loads(line)["boxes"]] for line in lines]


def iou(a, b):
    w, h = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1))
    area = lambda r: (r[2] - r[0]) * (r[3] - r[1])
    return w * h / (area(a) + area(b) - w * h) if w > 0 and h > 0 else 0


def same_boxes(ours, theirs):
    """Each of ours is one of theirs, and there are no others."""
    left = list(theirs)
    for label, score, box in ours:
        fits = [t for t in left if t[0] == label and abs(t[1] - score) < 1e-3 and iou(t[2], box) > 0.99]
        if not fits:
            return False
        left.remove(max(fits, key=lambda t: iou(t[2], box)))
    return not left


def letterbox(size, side):
    """scale and pads of a picture of that size: src/data/letterbox.h."""
    scale = float(numpy.float32(side / max(size)))
    return scale, [(side - s * scale) // 2 if s * scale < side else 0 for s in size]


def in_picture(row, size, side):
    """A box of input pixels in those of the picture, clipped."""
    scale, pads = letterbox(size, side)
    return [min(max((x - pads[i % 2]) / scale, 0), size[i % 2]) for i, x in enumerate(row)]


def about_detector(model, names, nms, inside):
    config = config_of(model)
    side = config.getint("model", "input")
    boxes = {"format": "xyxy score class" if nms else "cxcywh scores", "pixels": "picture" if inside else "input",
             "score": float(SCORE[0].split("=")[1]), "iou": config.getfloat("predict", "nms"),
             "max_boxes": config.getint("predict", "max_boxes")}
    read = {"colour": "RGB", "layout": "NHWC", "type": "uint8", "mean": [0, 0, 0], "scale": 1} if inside else {
        "colour": "RGB", "layout": "NCHW", "type": "float32", "mean": [0, 0, 0], "scale": 0.00392156863}
    return {**about(model, "mask_detector"), "task": "detect", "batch": "1", "channels": "3", "stride": "32",
            "imgsz": [side, side], "args": {"batch": 1, "dynamic": False, "nms": nms}, "names": dict(enumerate(names)),
            "spotgrad.size": config["model"]["size"], "spotgrad.input": read, "spotgrad.boxes": boxes, "spotgrad.letterbox": {
                "inside": inside, "side": side, "pad": 114, "align": "centre", "filter": "triangle"}}


def check_raw(name, path, inputs, expected, batches):
    for runtime in runtimes:
        told, about = answers(path, {"images": inputs}, batches, runtime)
        for batch in batches:
            found = told[batch]["output0"]
            case("%s: raw outputs, onnxruntime %s, batches of %d: within 1e-4 of ours" % (name, about["version"], batch),
                 found.shape == expected.shape and beyond(found, expected) <= 1e-4,
                 found.shape if found.shape != expected.shape else beyond(found, expected))


def check_found(name, path, inputs, ours, batches, place):
    """Behind the suppression; place(box, i): in pixels of picture i."""
    for runtime in runtimes:
        told, about = answers(path, {"images": inputs}, batches, runtime)
        names = ast.literal_eval(about["metadata"]["names"])
        for batch in batches:
            wrong = []
            for i, rows in enumerate(told[batch]["output0"]):
                boxes = [(names[int(r[5])], r[4], place(r[:4], i)) for r in rows if r[4] > 0]
                boxes = [b for b in boxes if b[2][2] > b[2][0] and b[2][3] > b[2][1]]
                wrong += [] if same_boxes(ours[i], boxes) else [(i, ours[i][:2], boxes[:2])]
            case("%s: boxes, onnxruntime %s, batches of %d: predict's" % (name, about["version"], batch),
                 len(told[batch]["output0"]) == len(ours) and not wrong, wrong)


def check_batches_of_pictures(name, whole, raw, files, side, expected, ours):
    """--preprocess on those of the most common size, with --nms (`whole`) and without (`raw`)."""
    size = collections.Counter(Image.open(f).size for f in files).most_common(1)[0][0]
    at = [i for i, f in enumerate(files) if Image.open(f).size == size]
    pixels = numpy.stack([numpy.array(Image.open(files[i]).convert("RGB")) for i in at])
    scale, pads = letterbox(size, side)
    expected = expected[at].copy()
    expected[:, :2] -= numpy.array(pads)[:, None]
    expected[:, :4] /= scale
    check_raw("%s --preprocess" % name, raw, pixels, expected, (1, 3))
    check_found("%s --nms --preprocess" % name, whole, pixels, [ours[i] for i in at], (1, 3), lambda box, i: box)


def few_pictures():
    """Arguments: to be calibrated on pictures like those that are asked, and measured on a few of them."""
    if not data:
        return []
    folder = work / "few"
    if not folder.exists():
        folder.mkdir()
        for name in ("images", "annotations", "train.txt"):
            (folder / name).symlink_to(pathlib.Path(data, "masks", name).resolve())
        names = pathlib.Path(data, "masks/val.txt").read_text().splitlines(keepends=True)
        (folder / "val.txt").write_text("".join(names[::10]))
    return ["data.root=%s" % folder]


def check_int8(name, model, inputs, expected, described):
    """Quantised: onnxruntime runs it, and on the whole it answers the same."""
    arguments = ["--int8", *SCORE, *few_pictures()]
    path = export(model, "int8", *arguments)
    check_file(name + " --int8", path, about_int8(path, described), (model, "int8-again", *arguments))
    kinds = [node.op_type for node in onnx.load(path).graph.node]
    case("%s --int8: pairs around convolutions" % name, kinds.count("QuantizeLinear") > kinds.count("Conv") / 2 > 10, kinds.count("QuantizeLinear"))
    for runtime in runtimes:
        told, about = answers(path, {"images": inputs}, (16,), runtime)
        far = numpy.abs(told[16]["output0"] - expected)[:, 4:].mean()
        case("%s --int8: scores, onnxruntime %s: on average within 0.01 of ours, and others" % (name, about["version"]), 1e-5 < far < 1e-2, far)


def check_detector(model, files):
    name = model.name
    inputs, boxes, scores = engine_pictures(model, files)
    expected, floats = raw_output(boxes, scores), inputs.astype("f4") / 255
    ours = predicted(model, files)
    case("%s: there are boxes to compare" % name, sum(map(len, ours)) > 2 * len(files), sum(map(len, ours)))
    with h5py.File(model / "best.h5") as file:
        names = [n.decode() for n in file["classes"]]

    def exported(title, *arguments):
        path = export(model, title, *arguments, *SCORE)
        described = about_detector(model, names, "--nms" in arguments, "--preprocess" in arguments)
        check_file(" ".join([name, *arguments]), path, described, (model, title + "-again", *arguments, *SCORE))
        return path

    raw, nms = exported("raw"), exported("nms", "--nms")
    pictures, whole = exported("pictures", "--preprocess"), exported("whole", "--nms", "--preprocess")
    sizes, side = [Image.open(f).size for f in files], inputs.shape[-1]
    check_raw(name, raw, floats, expected, (1, 3, 16))
    check_found(name + " --nms", nms, floats, ours, (1, 3, 16), lambda box, i: in_picture(box, sizes[i], side))
    check_batches_of_pictures(name, whole, pictures, files, side, expected, ours)
    check_int8(name, model, floats, expected, about_detector(model, names, False, False))
    odd = odd_pictures(files[max(range(len(files)), key=lambda i: len(ours[i]))])
    odder = predicted(model, odd)
    case("%s: there are boxes in odd pictures" % name, all(odder), list(map(len, odder)))
    check_stranger(name, whole, files + odd, ours + odder)


# --- the scripts of docs/serving.md ---------------------------------------------------------------


def script(name):
    """The block of Python that begins with that comment, as a file."""
    page = pathlib.Path("docs/serving.md").read_text()
    blocks = [b for b in re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S) if b.startswith("# %s:" % name)]
    path = work / name
    path.write_text(blocks[0])
    return path


def check_stranger(name, model, files, ours):
    for runtime, folder in runtimes.items():
        found = {f: [] for f in files}
        for line in run([sys.executable, script("detect.py"), model, *files], folder).splitlines():
            file, label, score, *box = line.split("\t")
            found[file].append((label, float(score), list(map(float, box))))
        wrong = [(f, o[:2], found[f][:2]) for f, o in zip(files, ours) if not same_boxes(o, found[f])]
        case("%s: detect.py of docs/serving.md, %s onnxruntime: predict's boxes" % (name, runtime), not wrong, wrong)


# --- texts ----------------------------------------------------------------------------------------

TEXT_MODELS = {
    "n-grams": ["text.buckets=65536"],
    "n-grams by mean, a bag and a transformer": [
        "text.buckets=16384", "text.weights=mean", "text.char_min=1", "model.bag=8", "model.layers=2", "model.width=32",
        "model.heads=4", "text.subwords=500"],
    "a gated CNN for two tasks": [
        "model.wide=false", "model.encoder=gated_cnn", "model.layers=2", "model.width=32", "text.subwords=400"]}
TASKS = ["irony", "stance/abortion"]  # of the last


def texts():
    """A folder to train on, another with TASKS, and messages of all val parts: without RUNs each tenth."""
    if data:
        files = sorted(glob.glob(data + "/sms/val_text.txt") + glob.glob(data + "/tweeteval/**/val_text.txt", recursive=True))
        lines = b"".join(pathlib.Path(f).read_bytes() for f in files).splitlines(keepends=True)
        return pathlib.Path(data, "sms"), pathlib.Path(data, "tweeteval"), b"".join(lines if runs else lines[::10])
    skip("texts of the val parts", "no $SPOTGRAD_DATA; drawn ones instead")
    folder, draw = work / "texts", random.Random(1)
    for task in ["one", *TASKS]:
        draw_texts(folder / task, draw)
    return folder / "one", folder, (folder / "one/val_text.txt").read_bytes() + b"\n"


def draw_texts(folder, draw):
    said = lambda k: " ".join(draw.choices(WORDS[k], k=2) + draw.choices(WORDS[2], k=draw.randrange(8))) + "\n"
    folder.mkdir(parents=True)
    for part, n in (("train", 300), ("val", 200)):
        labels = [draw.randrange(2) for _ in range(n)]
        (folder / (part + "_text.txt")).write_text("".join(map(said, labels)))
        (folder / (part + "_labels.txt")).write_text("".join("%d\n" % k for k in labels))
    (folder / "mapping.txt").write_text("0\tsad\n1\tgood\n")


WORDS = (["сльози", "lonely", "rain", "😢"], ["сонце", "happy", "party", "😂"], "я ти the a @user #день 10:30 ... м’ята".split())

# ids of each line, by the functions of docs/serving.md
IDS = """import json, sys; sys.path.insert(0, sys.argv[2]); import classify
for message in sys.stdin.buffer.read().split(b"\\n")[:-1]:
    ids = classify.inputs(classify.clean(message))
    print(json.dumps({name: value[0].tolist() for name, value in ids.items()}))"""


def check_clean(messages, engine):
    """examples/clean.py against the library, and the cases of its own test."""
    sys.path.insert(0, "examples")
    from clean import clean
    wrong = [(m, clean(m)) for m, e in zip(messages.split(b"\n"), engine) if clean(m) != e["tokens"]]
    case("examples/clean.py: the library's tokens of %d messages" % len(engine), len(engine) > 0 and not wrong, wrong[:1])
    told = [line.split("\t") for line in pathlib.Path("tests/data/text_clean.txt").read_text().split("\n")
            if "\t" in line and not line.startswith("#")]
    wrong = [case for case in told if clean(unquote_to_bytes(case[0])) != unquote(case[1])]
    case("examples/clean.py: all rules", len(told) > 70 and not wrong, wrong[:1])


def check_ids(name, model, messages, engine):
    """The page's functions against the library's tokenizer."""
    lines = run([sys.executable, "-c", IDS, model, work], stdin=messages).splitlines()
    wrong = []
    for line, e in zip(lines, engine):
        found = json.loads(line)
        ids = {"input_ids": e["subwords"] or [0], "ngram_ids": e["ngrams"] or [-1]}
        same = all(found[k] == v for k, v in ids.items() if k in found)
        if same and "ngram_weights" in found:
            same = numpy.allclose(found["ngram_weights"], e["weights"] or [0], rtol=1e-6, atol=0)
        if not same:
            wrong.append((e["tokens"], found))
    case("%s: ids of %d messages by classify.py: the library's" % (name, len(engine)), len(lines) == len(engine) > 0 and not wrong, wrong[:1])


def padded(rows, fill, kind):
    """(n, the longest of them)"""
    block = numpy.full((len(rows), max(1, max(map(len, rows)))), fill, kind)
    for to, row in zip(block, rows):
        to[:len(row)] = row
    return block


def text_inputs(engine, wanted):
    every = {"input_ids": padded([e["subwords"] for e in engine], 0, "i8"),
             "attention_mask": padded([[1] * len(e["subwords"]) for e in engine], 0, "i8"),
             "ngram_ids": padded([e["ngrams"] for e in engine], -1, "i8"),
             "ngram_weights": padded([e["weights"] for e in engine], 0, "f4")}
    return {name: every[name] for name in wanted}


def tasks_of(model):
    """[{"name", "classes"}], as predict answers."""
    told = json.loads(run(["bin/predict", "--checkpoint", model, "--json", "a message"]))
    tasks = told.get("tasks", {config_of(model)["data"]["task"]: told})
    return [{"name": name, "classes": list(task["probabilities"])} for name, task in tasks.items()]


def about_text(model, tasks):
    config, several = config_of(model), len(tasks) > 1
    with h5py.File(model / "best.h5") as file:
        tokenizer = file["run/tokenizer"][()].decode()
    names = [task["name"] + ":" + name if several else name for task in tasks for name in task["classes"]]
    return {**about(model, "text_classifier"), "task": "classify", "names": dict(enumerate(names)), "spotgrad.tasks": tasks,
            "spotgrad.length": config["model"]["input"] if config.getint("model", "layers") else "0",
            "spotgrad.features": config["text"]["features"] if config.getboolean("model", "wide") else "0",
            "spotgrad.tokenizer": tokenizer, "spotgrad.tokenizer_sha256": hashlib.sha256(tokenizer.encode()).hexdigest(),
            "spotgrad.normalizer_version": "1"}


def by_task(columns, tasks):
    """(n, classes of all) -> of each task its (n, classes)"""
    return numpy.split(columns, numpy.cumsum([len(t["classes"]) for t in tasks])[:-1], 1)


def labels(columns, tasks):
    """(n, tasks)"""
    return numpy.stack([part.argmax(1) for part in by_task(columns, tasks)], 1)


def check_answers(name, model, engine, wanted, tasks):
    for runtime in runtimes:
        for batches, some in (((1, 3), engine[::40]), ((16,), engine)):
            ours = numpy.array([e["probabilities"] for e in some])
            told, about = answers(model, text_inputs(some, wanted), batches, runtime)
            for batch in batches:
                theirs, logits = told[batch]["probabilities"], told[batch]["logits"]
                title = "%s: %d messages in batches of %d, onnxruntime %s" % (name, len(some), batch, about["version"])
                wrong = (labels(theirs, tasks) != labels(ours, tasks)).sum()
                case(title + ": the same labels", wrong == 0, wrong)
                case(title + ": probabilities within 1e-5", numpy.abs(theirs - ours).max() <= 1e-5, numpy.abs(theirs - ours).max())
                fit = numpy.concatenate([softmax(part) for part in by_task(logits, tasks)], 1)
                case(title + ": logits fit them", numpy.abs(fit - theirs).max() <= 1e-5, logits[:2])


def check_int8_answers(name, model, engine, wanted, tasks):
    """Quantised: onnxruntime runs it, and nearly always it answers the same."""
    path = export(model, "int8-" + model.name, "--int8")
    again = (model, "int8-again-" + model.name, "--int8")
    check_file(name + " --int8", path, about_int8(path, about_text(model, tasks)), again)
    ours = numpy.array([e["probabilities"] for e in engine])
    for runtime in runtimes:
        told, about = answers(path, text_inputs(engine, wanted), (16,), runtime)
        theirs = told[16]["probabilities"]
        far, same = numpy.abs(theirs - ours), (labels(theirs, tasks) == labels(ours, tasks)).mean()
        case("%s --int8: onnxruntime %s: 98 %% of the labels, probabilities on average within 0.02, and others" % (name, about["version"]),
             same >= 0.98 and 1e-6 < far.mean() < 0.02, (same, far.mean()))


def softmax(x):
    e = numpy.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def check_script(name, model, messages, engine, tasks):
    """classify.py, from messages to labels; the last line has no end, and is the first message, which is not empty."""
    asked, some = b"\n".join(messages.split(b"\n")[:-1:40][::-1]), engine[::40][::-1]
    lines = run([sys.executable, work / "classify.py", model], stdin=asked).split("\n")[:-1]
    wrong = []
    for line, e in zip(lines, some):
        told, rest = line.split("\t"), e["probabilities"]
        for task in tasks:
            p, rest = rest[:len(task["classes"])], rest[len(task["classes"]):]
            label = (task["name"] + "=" if len(tasks) > 1 else "") + task["classes"][p.index(max(p))]
            wrong += [] if told[0] == label and abs(float(told[1]) - max(p)) <= 1e-5 else [line]
            told = told[2:]
    case("%s: classify.py of docs/serving.md: predict's labels" % name, len(lines) == len(some) and not wrong, wrong[:2])


def check_texts():
    folder, several, messages = texts()
    script("classify.py")
    shutil.copy("examples/clean.py", work)
    for name, keys in TEXT_MODELS.items():
        model = work / re.sub("[^a-z]", "", name.lower())
        where = ["data.root=%s" % several, "data.task=" + ", ".join(TASKS)] if "tasks" in name else ["data.root=%s" % folder]
        run(["bin/train", "--config", "configs/sms.ini", *where, "run.dir=%s" % model, "train.epochs=1", "run.plots=false",
             "spot.provider=none", *keys])
        engine = [json.loads(line) for line in run([ENGINE, model / "best.h5", "texts"], stdin=messages).splitlines()]
        tasks, path = tasks_of(model), export(model, model.name)
        case("%s: its tasks" % name, len(tasks) == (2 if "tasks" in name else 1), tasks)
        check_file(name, path, about_text(model, tasks), (model, model.name + "-again"))
        wanted = [i.name for i in onnx.load(path).graph.input]
        check_answers(name, path, engine, wanted, tasks)
        check_ids(name, path, messages, engine)
        check_script(name, path, messages, engine, tasks)
        if "input_ids" in wanted:
            check_int8_answers(name, model, engine, wanted, tasks)
    check_clean(messages, engine)


# --- the whole ------------------------------------------------------------------------------------

try:
    sys.path.pop(0)  # this folder's modules are none of those
    import h5py
    import numpy
    import onnx
    import onnxruntime
    from PIL import Image
except ImportError as error:
    skip("exported models", "no Python package: %s (scripts/setup test)" % error)
    sys.exit(0)
runtimes = {"newest": None, "oldest": os.path.abspath(OLDEST)}
if not os.path.isdir(OLDEST):
    skip("the oldest onnxruntime", "no %s (scripts/setup test)" % OLDEST)
    del runtimes["oldest"]
try:
    small = train_detector()
    files = pictures()
    for model in [small, *runs]:
        check_detector(model, files)
    check_texts()
except Exception as error:  # a case that could not be asked
    case("the test itself", False, repr(error))
finally:
    shutil.rmtree(work)
sys.exit(failed)
