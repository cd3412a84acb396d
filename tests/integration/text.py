"""The text classifier from outside: train, evaluate, predict and check messages made here.

Short runs on small data: this asks for behaviour, not for quality."""
# time limit: 600
import csv
import json
import os
import pathlib
import random
import re
import select
import signal
import subprocess
import sys
import tempfile
import time

failed = False
work = pathlib.Path(tempfile.mkdtemp(prefix="spotgrad-text-"))
classes = ["sorrow", "joy"]


def case(name, ok, why=""):
    global failed
    failed = failed or not ok
    print("ok - " + name if ok else "not ok - %s: %s" % (name, str(why)[:600].replace("\n", " | ")), flush=True)


def run(program, *arguments, stdin=b""):
    """The exit status, standard output and error, as bytes."""
    done = subprocess.run(["bin/" + program, *map(str, arguments)], input=stdin, capture_output=True, timeout=300)
    return done.returncode, done.stdout, done.stderr


def expect(name, result, status, *texts):
    """An exit status, and texts in what was said."""
    said = (result[1] + result[2]).decode("utf-8", "replace")
    missing = [t for t in texts if t not in said]
    case(name, result[0] == status and not missing, "status %d, no %r in: %s" % (result[0], missing, said))


def refuses(name, result, status, line):
    """One line on standard error, nothing on standard output."""
    case(name, result == (status, b"", (line + "\n").encode()), result)


# --- data -----------------------------------------------------------------------------------------

words = (["грусть", "сльози", "lonely", "lost", "rain", "😢"], ["радість", "сонце", "happy", "won", "party", "😂"])
others = "я ти ми the a of to and вчора сьогодні @user @Anna #день https://t.co/x &amp; don\\u2019t".split()


def messages(n, seed):
    """(message, class): some words tell, others do not. One in 25 is empty."""
    chosen, made = random.Random(seed), []
    for i in range(n):
        label = chosen.randrange(2)
        text = [chosen.choice(words[label]) for _ in range(2)] + [chosen.choice(others) for _ in range(chosen.randrange(1, 12))]
        chosen.shuffle(text)
        made.append(("" if i % 25 == 7 else " ".join(text), label))
    return made


parts = {"train": messages(300, 1), "val": messages(100, 2), "test": messages(50, 3)}


def write_tweeteval(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for part, rows in parts.items():
        (folder / (part + "_text.txt")).write_bytes("".join(t + "\n" for t, _ in rows).encode())
        (folder / (part + "_labels.txt")).write_bytes("".join("%d\n" % k for _, k in rows).encode())
    (folder / "mapping.txt").write_text("".join("%d\t%s\n" % pair for pair in enumerate(classes)))
    return folder


def write_csv(folder):
    folder.mkdir()
    for part, rows in parts.items():
        with open(folder / (part + ".csv"), "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "label", "message"])
            writer.writerows([i, classes[k], t] for i, (t, k) in enumerate(rows))
    return folder


def write_jsonl(folder):
    folder.mkdir()
    for part, rows in parts.items():
        lines = [json.dumps({"text": t, "label": classes[k]}, ensure_ascii=i % 2 == 0) for i, (t, k) in enumerate(rows)]
        (folder / (part + ".jsonl")).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return folder


data = write_tweeteval(work / "data")
small = ["model.type=text_classifier", "text.buckets=4096", "train.epochs=3", "train.batch=16", "train.shards=4",
         "train.lr=0.05", "spot.provider=none"]
tweets = small + ["data.root=%s" % data]


def train(folder, *arguments):
    return run("train", "run.dir=%s" % (work / folder), *arguments)


def hash_of(result):
    found = re.search(rb"^state sha256: ([0-9a-f]{64})$", result[1], re.M)
    return found and found[1]


def same(name, result, whole):
    case(name, whole is not None and hash_of(result) == whole, (hash_of(result), whole, result[2]))


# --- train ----------------------------------------------------------------------------------------

def check_training():
    """The model that the others use; returns its hash."""
    result = train("one", *tweets, "train.threads=1")
    expect("train", result, 0, "  step 1/57  loss ", "done: 57 steps, 3 epochs", "best so far: kept as best.h5",
           "text_classifier, 2 classes; n-grams of 1-2 words and 2-4 characters in ",
           "300 texts to train on, 100 to validate; 3 epochs, 57 steps of 16 in 4 shards", " texts/s ")
    said = (result[1] + result[2]).decode()
    case("no word of pictures", not re.search("picture|img/s|batch norm|nano|input", said), said)
    score = float(re.findall(r"macro_f1 ([0-9.]+)", said)[-1])
    case("it learns", score > 0.9, said)
    case("plots", sorted(p.name for p in (work / "one/plots").iterdir()) == ["confusion.png", "loss.png", "metrics.png"],
         list((work / "one/plots").iterdir()))
    whole = hash_of(result)
    for threads in (2, 4):
        same("%d threads: the same bits" % threads, train("threads%d" % threads, *tweets, "train.threads=%d" % threads),
             whole)
    same("a finished run again", train("one", *tweets), whole)
    same("from CSV: the same bits",
         train("csv", *small, "data.format=csv", "data.text=message", "data.root=%s" % write_csv(work / "as_csv"),
               "data.classes=%s" % ",".join(classes)), whole)
    same("from JSON lines: the same bits",
         train("jsonl", *small, "data.format=jsonl", "data.root=%s" % write_jsonl(work / "as_jsonl"),
               "data.classes=%s" % ",".join(classes)), whole)
    expect("--list", run("train", "--list", "run.dir=%s" % (work / "one")), 0, "step-000000057.h5, last.h5", " whole\n")
    expect("--dry-run", run("train", "--dry-run", *tweets, "model.bag=8", "model.layers=1", "model.width=16", "model.heads=2",
                            "text.subwords=300"), 0,
           "a bag of width 8; a transformer of 1 layer, width 16, over 300 subwords, at most 64 of a text",
           "classify.weight                 2 x 24", "in tables of n-grams", "300 texts to train on, 100 to validate; 57 steps")
    expect("--profile", run("train", "--profile", *tweets), 0, "one shard of 4 texts, of 4; mean of 5 steps", "wide.embedding_bag")
    return whole


def newest(folder):
    """Step of the newest checkpoint; -1: there is none."""
    return max([int(p.stem[5:]) for p in (folder / "checkpoints").glob("step-*.h5")], default=-1)


def kill_and_go_on(name, threads, whole, extra=()):
    """Killed at some steps, and once told to end: the same bits."""
    folder, chosen, left = work / name, random.Random(threads), []
    arguments = [*tweets, *extra, "train.threads=%d" % threads, "checkpoint.every_steps=1", "checkpoint.sync=true", "run.plots=false"]
    for how in (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        before, more = newest(folder), chosen.randrange(1, 8)
        process = subprocess.Popen(["bin/train", "run.dir=%s" % folder, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while newest(folder) < before + more and process.poll() is None:
            time.sleep(0.001)
        process.send_signal(how)
        process.wait()
        left.append(newest(folder))
    case("%s: on the way" % name, 0 < left[0] < 57 and left == sorted(left), left)
    result = train(name, *arguments)
    expect("%s: goes on" % name, result, 0, "resumed: step %d " % left[-1], "done: 57 steps")
    same("%s: the same bits" % name, result, whole)


def check_interruptions(whole):
    for threads in (1, 2, 4):
        kill_and_go_on("killed with %d threads" % threads, threads, whole)
    deep = ["model.layers=1", "model.width=16", "model.heads=2", "text.subwords=300", "model.bag=8", "model.dropout=0.1",
            "train.lr=0.005"]
    undisturbed = train("deep", *tweets, *deep, "train.threads=1")
    expect("bag and transformer", undisturbed, 0, "done: 57 steps")
    kill_and_go_on("killed, with bag and transformer", 2, hash_of(undisturbed), deep)


# --- masked tokens --------------------------------------------------------------------------------

encoders = {
    "transformer": ["model.layers=1", "model.width=16", "model.heads=2", "model.dropout=0.1", "text.subwords=300"],
    "gated_cnn": ["model.encoder=gated_cnn", "model.layers=2", "model.width=16", "model.kernel=5", "model.dropout=0.1",
                  "text.subwords=300"]}
masked = ["model.type=masked_tokens", "train.lr=0.01", "train.ema=0.9"]


def tensors(path, group):
    """Bytes of each data set of a group of a model file, by name."""
    listed = subprocess.run(["h5dump", "-n", path], capture_output=True, text=True, check=True).stdout
    found = {}
    for name in re.findall(r"dataset +/%s/(\S+)" % group, listed):
        out = work / "tensor"
        subprocess.run(["h5dump", "-d", "/%s/%s" % (group, name), "-b", "LE", "-o", out, path], stdout=subprocess.DEVNULL, check=True)
        found[name] = out.read_bytes()
    return found


def check_start(kind, path):
    """A classifier begins with the encoder of a masked model, bit for bit, and a head of its own."""
    keys = [*tweets, "model.wide=false", *encoders[kind], "model.init=%s" % path, "train.weight_decay=0"]
    result = train("still-" + kind, *keys, "train.lr=0", "train.steps=1")
    shared = {"transformer": 16, "gated_cnn": 15}[kind]
    expect("%s: model.init" % kind, result, 0, "model.init: took %d of %d tensors" % (shared, shared + 2))
    given, taken = tensors(path, "ema"), tensors(work / ("still-" + kind) / "last.h5", "parameters")
    case("%s: its tensors, bit for bit" % kind, len(taken) == shared + 2 and {n for n in taken if n not in given} == {"classify.weight", "classify.bias"}
         and all(taken[n] == given[n] for n in taken if n in given), (sorted(taken), sorted(given)))
    result = train("tuned-" + kind, *keys, "train.lr=0.01")
    expect("%s: it goes on learning" % kind, result, 0, "done: 57 steps")
    score = float(re.findall(r"macro_f1 ([0-9.]+)", result[1].decode())[-1])
    case("%s: it classifies" % kind, score > 0.9, score)


def check_masked():
    texts = write_tweeteval(work / "unlabelled")
    for part in parts:
        (texts / (part + "_labels.txt")).unlink()
    (texts / "mapping.txt").unlink()
    wrong = write_tweeteval(work / "mislabelled")
    (wrong / "train_labels.txt").write_text("joy\n")
    (wrong / "mapping.txt").unlink()
    for kind, encoder in encoders.items():
        keys = [*small, *masked, *encoder, "data.root=%s" % texts]
        name = "masked-" + kind
        result = train(name, *keys, "train.threads=1")
        expect("%s: train" % name, result, 0, "masked_tokens, 15 %% of subwords to be guessed; a %s of " % {"transformer": "transformer", "gated_cnn": "gated CNN"}[kind],
               " masked subwords of 100 texts: loss ", "done: 57 steps")
        whole = hash_of(result)
        losses = [json.loads(line)["masked"]["loss"] for line in (work / name / "metrics.jsonl").read_text().splitlines()]
        case("%s: the loss falls" % name, len(losses) == 3 and losses[0] > losses[1] > losses[2] and losses[2] < 5, losses)
        same("%s: 4 threads, labels that are not looked at: the same bits" % name,
             train(name + "-labelled", *keys, "data.root=%s" % wrong, "train.threads=4"), whole)
        same("%s: a finished run where there were no labels" % name, train(name, *keys, "data.root=%s" % data), whole)
        kill_and_go_on("killed, " + name, 2, whole, [*masked, *encoder, "data.root=%s" % texts])
        check_start(kind, work / name / "last.h5")
    model = ["--checkpoint", work / name / "last.h5"]
    figures = json.loads(run("evaluate", *model, "--json")[1])
    case("evaluate: its figures", list(figures) == ["metric", "value", "accuracy", "masked"] and figures["metric"] == "probability"
         and abs(figures["masked"]["loss"] - losses[2]) < 1e-5 and 0 < figures["accuracy"] < 1
         and abs(figures["value"] * figures["masked"]["perplexity"] - 1) < 1e-6, figures)
    case("evaluate, one thread: the same figures", json.loads(run("evaluate", *model, "--json", "train.threads=1")[1]) == figures, figures)
    case("evaluate, another seed: other guesses", json.loads(run("evaluate", *model, "--json", "run.seed=2")[1])["masked"]["loss"] != losses[2], losses)
    expect("evaluate --split test", run("evaluate", *model, "--split", "test"), 0, " masked subwords of 50 texts: loss ")
    refuses("evaluate: a key that is built in", run("evaluate", *model, "model.width=32"), 78,
            "evaluate: command line: model.width: is built into %s; leave it out" % model[1])
    refuses("predict", run("predict", *model, "text"), 78,
            "predict: %s: is a model of type masked_tokens, which labels nothing; train a text_classifier with model.init=%s" % (model[1], model[1]))
    expect("--dry-run", run("train", "--dry-run", *keys), 0, "a gated CNN of 2 layers, width 16, windows of 5, over 300 subwords", "masked.bias")
    expect("--check-data without labels", run("train", "--check-data", *keys), 0, "450 texts, 0 errors")
    expect("--check-data: labels that are not looked at", run("train", "--check-data", *keys, "data.root=%s" % wrong), 0, "450 texts, 0 errors")
    refuses("without an encoder", train("refused", *keys, "model.layers=0"), 78,
            "train: model.layers: masked_tokens trains an encoder; give it layers, such as model.layers=4")
    refuses("an even kernel", train("refused", *keys, "model.kernel=4"), 78,
            "train: text encoder: kernel 4 is even; a window has its token in the middle")
    refuses("model.init: of another number of subwords", train("refused", *tweets, "model.wide=false", *encoder, "text.subwords=290",
                                                               "model.init=%s" % model[1]), 78,
            "train: %s: its tokenizer was learned with other keys of [text], model.wide, model.bag, model.layers or model.input; give "
            "them the same values" % model[1])


# --- evaluate -------------------------------------------------------------------------------------

def check_evaluate():
    model = ["--checkpoint", work / "one"]
    result = run("evaluate", *model, "--json")
    expect("evaluate --json", result, 0)
    figures = json.loads(result[1])
    case("its figures", figures["metric"] == "macro_f1" and list(figures["classes"]) == classes
         and figures["count"] == 100 and 0.9 < figures["value"] <= 1, figures)
    lines = (work / "one/metrics.jsonl").read_text().splitlines()
    best = max((json.loads(line) for line in lines), key=lambda m: m["score"] if "score" in m else m.get("value", 0))
    case("as training said", "%.6f" % figures["value"] in json.dumps(best) or abs(best.get("score", -1) - figures["value"]) < 1e-6,
         (best, figures))
    one = run("evaluate", *model, "--json", "train.threads=1")
    case("one thread: the same figures", one[1] == result[1], one)
    expect("evaluate, for people", run("evaluate", *model, "--split", "train"), 0, "class   texts  precision  recall", "300 texts: macro_f1")
    expect("evaluate --split test", run("evaluate", *model, "--split", "test"), 0, "50 texts: macro_f1")
    expect("on another layout", run("evaluate", *model, "data.format=csv", "data.text=message", "data.root=%s" % (work / "as_csv"),
                                    "--split", "test"), 0, "50 texts: macro_f1")
    path = work / "one/best.h5"
    for key in ("text.words=1", "model.bag=4", "data.classes=a,b"):
        refuses("evaluate: %s" % key, run("evaluate", *model, key), 78,
                "evaluate: command line: %s: is built into %s; leave it out" % (key.split("=")[0], path))
    refuses("evaluate: another number of tasks", run("evaluate", *model, "data.task=a,b"), 78,
            "evaluate: command line: data.task: %s has learned one task, not a,b" % path)


# --- predict --------------------------------------------------------------------------------------

def answers(result):
    return [json.loads(line) for line in result[1].splitlines()]


def check_predict():
    model = ["--checkpoint", work / "one/best.h5"]
    result = run("predict", *model, "--json", "радість і сонце 😂", "lonely rain 😢", "")
    expect("predict --json", result, 0)
    found = answers(result)
    case("labels", [a["label"] for a in found[:2]] == ["joy", "sorrow"], found)
    case("texts, as they were", [a["text"] for a in found] == ["радість і сонце 😂", "lonely rain 😢", ""], found)
    case("in ASCII alone", all(c < 127 for c in result[1]), result[1])
    case("keys", all(list(a) == ["text", "label", "probabilities"] and list(a["probabilities"]) == classes for a in found), found)
    case("probabilities add up to 1", all(abs(sum(a["probabilities"].values()) - 1) < 1e-5 for a in found), found)
    case("the label is the likeliest", all(a["probabilities"][a["label"]] == max(a["probabilities"].values()) for a in found), found)

    odd = [b"happy", b"", b"a\tb\r", b"not \xff\xfe utf-8 \xe2\x82 party", b"nul \0 inside", "сльози 😢".encode(), b"", b'quote " \\']
    file = work / "lines.txt"
    for name, content in (("a file", b"\n".join(odd) + b"\n"), ("a file without a last LF", b"\n".join(odd))):
        file.write_bytes(content)
        result = run("predict", *model, "--json", file)
        expect("predict: " + name, result, 0)
        case(name + ": each line, in order", [a["text"] for a in answers(result)] == [t.decode("utf-8", "replace") for t in odd], result[1])
    streamed = run("predict", *model, "--json", "-", stdin=file.read_bytes())
    case("standard input: the same answers", streamed[1] == result[1], streamed)
    plain = run("predict", *model, file, train_threads(1))
    case("for people: label, probability, text",
         all(re.fullmatch(rb"(joy|sorrow)\t[01]\.\d{4}\t[^\x00-\x1f\x7f]*", line) for line in plain[1].splitlines())
         and len(plain[1].splitlines()) == len(odd) and b"\ta\\tb\\r\n" in plain[1] and b"nul \\x00 inside\n" in plain[1], plain)
    file.write_bytes(b"")
    case("an empty file has no message", run("predict", *model, "--json", file) == (0, b"", b""), file)
    file.write_bytes(b"\n")
    case("an empty line is one", [a["text"] for a in answers(run("predict", *model, "--json", file))] == [""], file)
    file.write_bytes(b"first\nlast")
    mixed = run("predict", *model, "--json", "before", file, "-", "after", stdin=b"in between\n")
    case("inputs in order", [a["text"] for a in answers(mixed)] == ["before", "first", "last", "in between", "after"], mixed)
    expect("predict: a text with a dash", run("predict", *model, "--", "- no"), 0, "- no")
    expect("predict: an option's typo", run("predict", *model, "-no"), 64, "unknown option -no")

    many = [t for t, _ in messages(9001, 5)]
    file.write_bytes("\n".join(many).encode())
    first = run("predict", *model, "--json", file, train_threads(1))
    case("9001 lines", [a["text"] for a in answers(first)] == many, len(first[1]))
    case("4 threads: the same answers", run("predict", *model, "--json", file, train_threads(4))[1] == first[1], "differ")

    folder = run("predict", *model, "--json", "one", work, "two")
    case("a folder among the texts", folder[0] == 65 and answers(folder)[1] == {"file": str(work), "error": "is a folder, not a file of texts"}
         and [a.get("text") for a in answers(folder)] == ["one", None, "two"]
         and folder[2] == b"predict: %s: is a folder, not a file of texts\n" % str(work).encode(), folder)
    for name, start, what in (("png", b"\x89PNG\r\n\x1a\n", "a picture (PNG)"), ("jpg", b"\xff\xd8\xff\xe0", "a picture (JPEG)"),
                              ("gz", b"\x1f\x8b\x08", "compressed (gzip)"), ("utf16", "\ufeffя".encode("utf-16"), "UTF-16")):
        file.write_bytes(start + b"\nand more\n")
        expect("predict: no texts but " + what, run("predict", *model, "--json", file), 65, '"error":"is ' + what)
        with open(file, "rb") as stdin:
            done = subprocess.run(["bin/predict", "--checkpoint", work / "one", "-"], stdin=stdin, capture_output=True)
        case("the same from standard input", done.returncode == 65 and done.stdout == b"" and what.encode() in done.stderr, done)
    file.write_bytes(b"\x89P\n\xff\xd8\n")
    case("a beginning of one is a text", len(answers(run("predict", *model, "--json", file))) == 2, file)
    missing = run("predict", *model, "absent.txt", "not absent.txt")
    case("a file's name that no file has", missing[0] == 0 and missing[1].count(b"\n") == 2
         and missing[2] == b"predict: absent.txt: no file has this name: it is answered as a text\n", missing)
    table = work / "new.csv"
    table.write_bytes(b"id,message\n1,hello\n")
    told = b"predict: %s: each line is answered as it stands; columns and fields are not read\n" % str(table).encode()
    answered = run("predict", *model, table)
    case("a file of columns is answered by the line, and says so", answered[0] == 0 and answered[1].count(b"\n") == 2 and answered[2] == told, answered)
    file.write_bytes(b"first\nlast")
    if os.getuid() == 0 and subprocess.run(["sh", "-c", "command -v setpriv"], capture_output=True).returncode == 0:
        file.chmod(0)
        work.chmod(0o755)
        guest = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "bin/predict", "--checkpoint", str(work / "one/best.h5"),
                 "--json", str(file)]
        for path in (work / "one", work / "one/best.h5"):
            path.chmod(0o755)
        done = subprocess.run(guest, capture_output=True)
        case("a file that may not be read", done.returncode == 65 and json.loads(done.stdout) == {"file": str(file), "error": "Permission denied"}, done)
        file.chmod(0o644)
    else:
        print("skip - a file that may not be read: not root, or no setpriv")
    refuses("predict: --annotate", run("predict", *model, "text", "--annotate", work / "drawn"), 64,
            "predict: --annotate %s: there is nothing to draw, the model answers texts; try `predict --help`" % (work / "drawn"))
    refuses("predict: a key that is built in", run("predict", *model, "text", "text.features=9"), 78,
            "predict: command line: text.features: is built into %s; leave it out" % (work / "one/best.h5"))


def train_threads(n):
    return "train.threads=%d" % n


def check_streams():
    """Answers at once where the pipe is empty; a reader that leaves; long lines in linear time."""
    command = ["bin/predict", "--checkpoint", work / "one", "--json", "-"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    for sent, want in ((b"one line\n", 1), (b"two\nthree\nand a half", 2), (b" is whole\n\n", 2)):
        process.stdin.write(sent)
        process.stdin.flush()
        got = b""
        while got.count(b"\n") < want and select.select([process.stdout], [], [], 60)[0]:
            got += os.read(process.stdout.fileno(), 65536)
        case("an answer to %r while the pipe is open" % sent, got.count(b"\n") == want, got)
    process.stdin.write(b"the rest")
    rest = process.communicate()[0]
    case("and to what has no LF at its end", json.loads(rest)["text"] == "the rest" and process.returncode == 0, rest)

    endless = subprocess.Popen("yes 'a happy party' | bin/predict --checkpoint %s - | head -n 3" % (work / "one"), shell=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        out, err = endless.communicate(timeout=60)
        case("a reader that leaves ends it", out.count(b"\n") == 3 and err == b"", (out, err))
    except subprocess.TimeoutExpired:
        endless.kill()
        case("a reader that leaves ends it", False, "still runs after 60 s")
    full = subprocess.run("bin/predict --checkpoint %s text >/dev/full" % (work / "one"), shell=True, capture_output=True)
    case("a full disk", full.returncode == 74 and b"No space left" in full.stderr, full)

    took = []
    for size in (2, 8):
        text = b"happy \xff\0" * (size << 17)
        start = time.monotonic()
        result = run("predict", "--checkpoint", work / "one", "--json", "-", stdin=text)
        took.append(time.monotonic() - start)
        case("a line of %d MB" % size, result[0] == 0 and answers(result)[0]["text"] == text.decode("utf-8", "replace"), result[2])
    case("in linear time", took[1] < 12 * took[0] + 2, took)


# --- several tasks --------------------------------------------------------------------------------

def check_tasks():
    root = work / "tasks"
    write_tweeteval(root / "mood")
    write_tweeteval(root / "stance/a")
    write_tweeteval(root / "stance/b")
    for topic in "ab":
        (root / "stance" / topic / "mapping.txt").write_text("0\tagainst\n1\tfavor\n")
    result = train("several", *small, "data.root=%s" % root, "data.task=mood, stance/a,stance/b")
    expect("three tasks", result, 0, "3 tasks: mood: 2 classes, stance/a: 2 classes, stance/b: 2 classes", "done: 169 steps")
    plots = sorted(p.name for p in (work / "several/plots").iterdir())
    case("plots of each", plots == ["confusion-mood.png", "confusion-stance.png", "loss.png", "metrics.png"], plots)
    figures = json.loads(run("evaluate", "--checkpoint", work / "several", "--json")[1])
    case("evaluate: topics are pooled", figures["metric"] == "mean" and list(figures["tasks"]) == ["mood", "stance"]
         and figures["tasks"]["stance"]["count"] == 200, figures)
    answer = answers(run("predict", "--checkpoint", work / "several", "--json", "радість сонце"))[0]
    case("predict: an answer a task", list(answer) == ["text", "tasks"] and list(answer["tasks"]) == ["mood", "stance/a", "stance/b"]
         and answer["tasks"]["mood"]["label"] == "joy" and answer["tasks"]["stance/b"]["label"] == "favor"
         and all(abs(sum(t["probabilities"].values()) - 1) < 1e-5 for t in answer["tasks"].values()), answer)
    plain = run("predict", "--checkpoint", work / "several", "радість сонце")[1].decode()
    told = "".join("%s=%s\t%.4f\t" % (name, t["label"], t["probabilities"][t["label"]]) for name, t in answer["tasks"].items())
    case("and for people", plain == told + "радість сонце\n", (plain, told))
    for name, result in (("train", train("refused", *small, "data.root=%s" % root, "data.task=mood,stance/a", "data.classes=a,b")),
                         ("--check-data", run("train", "--check-data", *small, "data.root=%s" % root, "data.task=mood,stance/a", "data.classes=a,b"))):
        refuses(name + ": classes of several tasks", result, 78,
                "train: data.classes: several tasks have their own classes; leave it at auto")
    (root / "mood/test_text.txt").rename(root / "mood/none_text.txt")
    (root / "stance/b/test_labels.txt").write_text("7\n" + "0\n" * 49)
    expect("--check-data: a task without a test part", run("train", "--check-data", *small, "data.root=%s" % root, "data.task=mood,stance/a,stance/b"),
           65, "mood/test_text.txt: error: no such file", "stance/b/test_labels.txt:1: error: label `7`", " 2 errors, ")
    refuses("other tasks", run("evaluate", "--checkpoint", work / "several", "data.task=mood"), 78,
            "evaluate: command line: data.task: is built into %s; leave it out" % (work / "several/best.h5"))


# --- what is refused ------------------------------------------------------------------------------

def broken(name, part, change):
    """A copy of the data set with one file changed."""
    folder = write_tweeteval(work / "broken" / name)
    path = folder / part
    path.write_bytes(change(path.read_bytes()))
    return folder, path


def check_errors():
    def third(line):
        return lambda content: b"\n".join(line if i == 2 else old for i, old in enumerate(content.split(b"\n")))

    for name, part, change, where, why in (
            ("invalid UTF-8", "train_text.txt", third(b"caf\xe9"), ":3", "UTF-8"),
            ("a NUL", "train_text.txt", third(b"a\0b"), ":3", "NUL"),
            ("a long line", "val_text.txt", third(b"x" * (1 << 20) + b"yz"), ":3", "at most 1048576"),
            ("a label of no class", "train_labels.txt", third(b"7"), ":3", "label `7`"),
            ("a label that is no number", "val_labels.txt", third(b"joy"), ":3", "label `joy`"),
            ("fewer labels than texts", "train_labels.txt", lambda c: c[:-2], "", "labels and texts differ in number: 299 here, 300 in"),
            ("no mapping", "mapping.txt", lambda c: b"", "", "no names")):
        folder, path = broken(name.replace(" ", "_"), part, change)
        result = train("refused", *small, "data.root=%s" % folder)
        said = result[2].decode()
        case("train: " + name, result[0] == 65 and said.count("\n") == 1 and said.startswith("train: %s%s: " % (path, where))
             and why in said, result)
        result = run("train", "--check-data", *small, "data.root=%s" % folder)
        expect("--check-data: " + name, result, 65, "%s%s: error: " % (path, where), why)

    ragged = work / "ragged"
    ragged.mkdir()
    for part in ("train", "val"):
        (ragged / (part + ".csv")).write_text("label,text\njoy,happy\nsorrow,lost,or so\njoy\nsorrow,rain\n")
    keys = [*small, "data.format=csv", "data.root=%s" % ragged]
    result = train("refused", *keys)
    case("train: a ragged row", result[0] == 65 and result[2].startswith(b"train: %s:3: " % str(ragged / "train.csv").encode()), result)
    expect("--check-data: ragged rows", run("train", "--check-data", *keys), 65, "train.csv:3: error: ", "train.csv:4: error: ", "val.csv:3: error: ")
    expect("--check-data", run("train", "--check-data", *tweets), 0, "450 texts, 0 errors", "sorrow", "an earlier part")
    folder, path = broken("the_last_part", "test_labels.txt", third(b"7"))
    (folder / "mapping.txt").unlink()
    expect("--check-data: the last part, without a mapping", run("train", "--check-data", *small, "data.classes=" + ",".join(classes), "data.root=%s" % folder), 65,
           "%s:3: error: " % path, "449 texts, 1 errors")

    expect("no such task", train("refused", *tweets, "data.task=moood"), 66, "%s/moood" % data)
    expect("no such folder", train("refused", *small, "data.root=%s" % (work / "nowhere")), 66, str(work / "nowhere"))
    refuses("a format of pictures", train("refused", *small, "data.format=voc"), 78,
            "train: command line: data.format: voc is for pictures; model.type = text_classifier takes tweeteval, csv, jsonl")
    refuses("a format of texts", train("refused", "data.format=csv"), 78,
            "train: command line: data.format: csv is for texts; model.type = mask_detector takes voc, yolo, coco")
    expect("other keys in the run's folder", train("one", *tweets, "text.words=1"), 78, "other values of text.words")
    expect("another data set in the run's folder", train("csv", *small, "data.format=csv", "data.text=message", "data.classes=joy,sorrow",
                                                         "data.root=%s" % (work / "as_csv")), 78)


def check_detector():
    """The other kind of model, where a text's was meant."""
    expect("a detector", run("train", "--config", "configs/mask-demo.ini", "run.dir=%s" % (work / "detector"), "data.root=%s" % (work / "masks"),
                             "data.synthetic=20", "model.input=64", "train.batch=4", "train.shards=4", "train.steps=1", "run.plots=false"), 0)
    path = work / "detector/last.h5"
    for text in ("good morning", "good morning " * 30):
        refuses("predict: texts for a detector", run("predict", "--checkpoint", path, text), 65,
                "predict: %s: no file has this name; the model answers pictures, not texts: give it PNG or JPEG files, or folders "
                "of them" % text)
    expect("model.init: a folder", train("init", *tweets, "model.init=%s" % work), 66, "%s: is a folder; name a model's file" % work)
    expect("no bag to keep", train("init", *tweets, "model.keep_bag=true", "model.init=%s" % path), 78, "model.keep_bag: keeps the bag")
    (work / "one_class").mkdir()
    (work / "one_class/train.csv").write_text("text,label\nhello,a\nworld,a\n")
    expect("one class", train("init", *small, "data.format=csv", "data.root=%s" % (work / "one_class")), 65,
           "one_class/train.csv: all its labels are `a`; at least two classes are needed")
    expect("no n-grams to read", train("init", *tweets, "text.words=0", "text.char_min=0", "text.char_max=0"), 78,
           "section [text]: n-grams of neither words nor characters")
    expect("model.init: a detector", train("init", *tweets, "model.init=%s" % path), 65, str(path))
    expect("evaluate: a detector on texts", run("evaluate", "--checkpoint", path, "model.type=text_classifier"), 78, "data.format")
    expect("model.init: a text classifier", train("init2", *tweets, "model.init=%s" % (work / "one/best.h5")), 0,
           "model.init: took 2 of 2 tensors")
    expect("model.init: the classes in another order", train("init4", *tweets, "data.classes=joy,sorrow", "train.lr=0",
                                                             "model.init=%s" % (work / "one/best.h5")), 0,
           "model.init: took 2 of 2 tensors", "brought into this run's order")
    asked = ["--json", "happy @user won", "rain, lonely"]
    one, other = ([json.loads(line)["probabilities"] for line in run("predict", "--checkpoint", work / name, *asked)[1].splitlines()]
                  for name in ("one/best.h5", "init4/best.h5"))
    case("and the same answers", len(one) == 2 and one == other and one[0]["joy"] != one[0]["sorrow"], (one, other))
    refuses("model.init: of other n-grams", train("init3", *tweets, "text.words=1", "model.init=%s" % (work / "one/best.h5")), 78,
            "train: %s: its tokenizer was learned with other keys of [text], model.wide, model.bag, model.layers or model.input; give "
            "them the same values" % (work / "one/best.h5"))


def check_ukrainian():
    """Through clean-up, CSV, checkpoint and predict: case, apostrophes, links and repeated letters change nothing."""
    model = ["--checkpoint", work / "csv"]
    found = answers(run("predict", *model, "--json", "Радість! Сонце.", "РАДІСТЬ! СОНЦЕ.", "сльози, грусть https://t.co/abc", "СЛЬОЗИ, ГРУСТЬ www.a.org"))
    case("Ukrainian: labels", [a["label"] for a in found] == ["joy", "joy", "sorrow", "sorrow"], found)
    case("Ukrainian: case and links are cleaned", found[0]["probabilities"] == found[1]["probabilities"]
         and found[2]["probabilities"] == found[3]["probabilities"], found)
    case("Ukrainian: the text is as it was", found[1]["text"] == "РАДІСТЬ! СОНЦЕ.", found)


try:
    undisturbed = check_training()
    check_evaluate()
    check_predict()
    check_streams()
    check_ukrainian()
    check_tasks()
    check_masked()
    check_errors()
    check_detector()
    check_interruptions(undisturbed)
except Exception as error:  # a case that could not be asked
    case("the test itself", False, repr(error))
finally:
    subprocess.run(["rm", "-rf", str(work)])
sys.exit(failed)
