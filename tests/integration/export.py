"""Exported models: what onnxruntime, the newest and the oldest that pip installs, computes with them,
beside our own engine (tests/export/engine.c); and the scripts of docs/serving.md as a stranger runs
them. Small models, trained here; on the pictures and some texts of $SPOTGRAD_DATA, or on drawn ones.

    .venv/bin/python tests/integration/export.py RUN...     also detectors that are there, and all texts"""
# time limit: 600
import ast
import glob
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
failed = False
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
    run(["bin/export", "--checkpoint", run_folder, "--output", path, *arguments])
    return path


def check_file(name, path, again=None):
    """What is true of all of them; `again`: the arguments of another export of the same."""
    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.load(path)
    case("%s: onnx.checker, opset 17, IR 8" % name, model.ir_version == 8 and
         [(o.domain, o.version) for o in model.opset_import] == [("", 17)], (model.ir_version, model.opset_import))
    if again:
        case("%s: the same bytes again" % name, export(*again).read_bytes() == path.read_bytes(), path)


def answers(path, inputs, batch, runtime):
    """Outputs by name, and what answers.py says about the model."""
    asked, told = work / "asked.npz", work / "told.npz"
    numpy.savez(asked, **inputs)
    about = json.loads(run([sys.executable, "tests/export/answers.py", path, batch, asked, told], runtimes[runtime]))
    return dict(numpy.load(told)), about


def beyond(theirs, ours):
    """The largest distance, in units of the largest value of ours, of any sample."""
    axes = tuple(range(1, ours.ndim))
    return (numpy.abs(theirs - ours).max(axes) / numpy.abs(ours).max(axes)).max()


# --- pictures -------------------------------------------------------------------------------------

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


def in_picture(row, size, side):
    """A box of input pixels in those of a picture of that size, clipped: src/data/letterbox.h."""
    scale = float(numpy.float32(side / max(size)))
    pads = [(side - s * scale) // 2 if s * scale < side else 0 for s in size]
    return [min(max((x - pads[i % 2]) / scale, 0), size[i % 2]) for i, x in enumerate(row)]


def check_raw(name, path, inputs, expected):
    for runtime in runtimes:
        for batch in (1, 3, 16):
            told, about = answers(path, {"images": inputs}, batch, runtime)
            case("%s: raw outputs, onnxruntime %s, batches of %d: within 1e-4 of ours" % (name, about["version"], batch),
                 told["output0"].shape == expected.shape and beyond(told["output0"], expected) <= 1e-4,
                 told["output0"].shape if told["output0"].shape != expected.shape else beyond(told["output0"], expected))


def check_nms(name, path, inputs, sizes, ours):
    for runtime in runtimes:
        for batch in (1, 16):
            told, about = answers(path, {"images": inputs}, batch, runtime)
            names = ast.literal_eval(about["metadata"]["names"])
            side, wrong = inputs.shape[-1], []
            for i, rows in enumerate(told["output0"]):
                boxes = [(names[int(r[5])], r[4], in_picture(r[:4], sizes[i], side)) for r in rows if r[4] > 0]
                boxes = [b for b in boxes if b[2][2] > b[2][0] and b[2][3] > b[2][1]]
                wrong += [] if same_boxes(ours[i], boxes) else [(i, ours[i][:2], boxes[:2])]
            case("%s: boxes, onnxruntime %s, batches of %d: predict's" % (name, about["version"], batch), not wrong, wrong)


def check_int8(name, model, inputs, expected):
    """Quantised: onnxruntime runs it, and on the whole it answers the same."""
    arguments = ["--int8", *(["data.root=%s/masks" % data] if data else [])]  # calibrated on pictures like those it is asked
    path = export(model, "int8", *arguments)
    check_file(name + " --int8", path)
    kinds = [node.op_type for node in onnx.load(path).graph.node]
    case("%s --int8: pairs around convolutions" % name, kinds.count("QuantizeLinear") > kinds.count("Conv") / 2 > 10, kinds.count("QuantizeLinear"))
    for runtime in runtimes:
        told, about = answers(path, {"images": inputs}, 16, runtime)
        far = numpy.abs(told["output0"] - expected)[:, 4:].mean()
        case("%s --int8: scores, onnxruntime %s: on average within 0.01 of ours, and others" % (name, about["version"]), 1e-5 < far < 1e-2, far)


def check_detector(model, files):
    name = model.name
    inputs, boxes, scores = engine_pictures(model, files)
    ours = predicted(model, files)
    case("%s: there are boxes to compare" % name, sum(map(len, ours)) > 2 * len(files), sum(map(len, ours)))
    raw = export(model, "raw", *SCORE)
    check_file(name, raw, (model, "raw-again", *SCORE))
    floats = inputs.astype("f4") / 255
    check_raw(name, raw, floats, raw_output(boxes, scores))
    check_int8(name, model, floats, raw_output(boxes, scores))
    nms = export(model, "nms", "--nms", *SCORE)
    check_file(name + " --nms", nms, (model, "nms-again", "--nms", *SCORE))
    check_nms(name, nms, floats, [Image.open(f).size for f in files], ours)
    whole = export(model, "pictures", "--nms", "--preprocess", *SCORE)
    check_file(name + " --nms --preprocess", whole, (model, "pictures-again", "--nms", "--preprocess", *SCORE))
    check_stranger(name, whole, files, ours)


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
    "a gated CNN": ["model.wide=false", "model.encoder=gated_cnn", "model.layers=2", "model.width=32", "text.subwords=400"]}


def texts():
    """A folder to train on, and messages of all val parts: without RUNs each tenth."""
    if data:
        files = sorted(glob.glob(data + "/sms/val_text.txt") + glob.glob(data + "/tweeteval/**/val_text.txt", recursive=True))
        lines = b"".join(pathlib.Path(f).read_bytes() for f in files).splitlines(keepends=True)
        return pathlib.Path(data, "sms"), b"".join(lines if runs else lines[::10])
    skip("texts of the val parts", "no $SPOTGRAD_DATA; drawn ones instead")
    draw, folder = random.Random(1), work / "texts"
    folder.mkdir()
    said = lambda k: " ".join(draw.choices(WORDS[k], k=2) + draw.choices(WORDS[2], k=draw.randrange(8))) + "\n"
    for part, n in (("train", 300), ("val", 200)):
        labels = [draw.randrange(2) for _ in range(n)]
        (folder / (part + "_text.txt")).write_text("".join(map(said, labels)))
        (folder / (part + "_labels.txt")).write_text("".join("%d\n" % k for k in labels))
    (folder / "mapping.txt").write_text("0\tsad\n1\tgood\n")
    return folder, (folder / "val_text.txt").read_bytes() + b"\n"


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


def check_answers(name, model, engine, wanted):
    for runtime in runtimes:
        for batch, some in ((1, engine[::40]), (3, engine[::40]), (16, engine)):
            ours = numpy.array([e["probabilities"] for e in some])
            told, about = answers(model, text_inputs(some, wanted), batch, runtime)
            theirs = told["probabilities"]
            title = "%s: %d messages in batches of %d, onnxruntime %s" % (name, len(some), batch, about["version"])
            case(title + ": the same labels", (theirs.argmax(1) == ours.argmax(1)).all(), (theirs.argmax(1) != ours.argmax(1)).sum())
            case(title + ": probabilities within 1e-5", numpy.abs(theirs - ours).max() <= 1e-5, numpy.abs(theirs - ours).max())
            case(title + ": logits fit them", numpy.abs(softmax(told["logits"]) - theirs).max() <= 1e-5, told["logits"][:2])


def check_int8_answers(name, model, engine, wanted):
    """Quantised: onnxruntime runs it, and nearly always it answers the same."""
    path = export(model, "int8-" + model.name, "--int8")
    check_file(name + " --int8", path)
    ours = numpy.array([e["probabilities"] for e in engine])
    for runtime in runtimes:
        told, about = answers(path, text_inputs(engine, wanted), 16, runtime)
        far, same = numpy.abs(told["probabilities"] - ours), (told["probabilities"].argmax(1) == ours.argmax(1)).mean()
        case("%s --int8: onnxruntime %s: 98 %% of the labels, probabilities on average within 0.02, and others" % (name, about["version"]),
             same >= 0.98 and 1e-6 < far.mean() < 0.02, (same, far.mean()))


def softmax(x):
    e = numpy.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def check_script(name, model, messages, engine):
    """classify.py, from messages to labels."""
    names = list(ast.literal_eval(onnxruntime.InferenceSession(str(model)).get_modelmeta().custom_metadata_map["names"]).values())
    some = engine[::40]
    asked = b"".join(m + b"\n" for m in messages.split(b"\n")[:-1:40])
    lines = run([sys.executable, work / "classify.py", model], stdin=asked).split("\n")[:-1]
    best = [max(range(len(names)), key=e["probabilities"].__getitem__) for e in some]
    wrong = [line for line, e, b in zip(lines, some, best)
             if line.split("\t")[0] != names[b] or not abs(float(line.split("\t")[1]) - e["probabilities"][b]) <= 1e-5]
    case("%s: classify.py of docs/serving.md: predict's labels" % name, len(lines) == len(some) and not wrong, wrong[:2])


def check_texts():
    folder, messages = texts()
    script("classify.py")
    shutil.copy("examples/clean.py", work)
    for name, keys in TEXT_MODELS.items():
        model = work / re.sub("[^a-z]", "", name.lower())
        run(["bin/train", "--config", "configs/sms.ini", "data.root=%s" % folder, "run.dir=%s" % model, "train.epochs=1",
             "run.plots=false", "spot.provider=none", *keys])
        engine = [json.loads(line) for line in run([ENGINE, model / "best.h5", "texts"], stdin=messages).splitlines()]
        path = export(model, model.name)
        check_file(name, path, (model, model.name + "-again"))
        wanted = [i.name for i in onnx.load(path).graph.input]
        check_answers(name, path, engine, wanted)
        check_ids(name, path, messages, engine)
        check_script(name, path, messages, engine)
        if "input_ids" in wanted:
            check_int8_answers(name, model, engine, wanted)
    check_clean(messages, engine)


# --- the whole ------------------------------------------------------------------------------------

try:
    sys.path.pop(0)  # this folder's modules are none of those
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
