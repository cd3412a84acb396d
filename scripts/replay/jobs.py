"""The training that is replayed: as small as one can be, so that a machine of few cores holds a fleet
of it. Its hash at the end, had nothing disturbed it, is computed once and kept."""
import ctypes
import hashlib
import os
import random
import re
import signal
import subprocess

BIN = "bin/spotgrad"
KEPT = "build/replay-trace"
TEXTS = ["--config", "configs/sms.ini", "model.bag=32", "model.layers=1", "model.width=32", "model.heads=2",
         "text.buckets=2003", "text.subwords=300", "train.lr=0.001"]
PICTURES = ["--config", "configs/mask-demo.ini", "data.synthetic=100", "data.synthetic_side=160",
            "model.input=64", "model.stride=8"]
COMMON = ["train.warmup=0", "train.epochs=100000", "train.eval_every=100000", "train.threads=1", "data.threads=1",
          "run.plots=false", "run.log=debug", "run.device=cpu", "spot.provider=none"]
libc = ctypes.CDLL(None, use_errno=True)


def die_with(parent):
    """For preexec_fn: no worker outlives this script, whatever ends it."""
    PR_SET_PDEATHSIG = 1
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def start(command, **more):
    """A process that dies with this one."""
    parent = os.getpid()
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=lambda: die_with(parent), **more)


def write_texts(folder):
    """Texts that say nothing of their labels, so that no model is done with them soon."""
    rng = random.Random(7)
    words = ["w%d" % i for i in range(200)]
    os.makedirs(folder, exist_ok=True)
    for part, n in (("train", 512), ("val", 16)):
        with open(os.path.join(folder, part + "_text.txt"), "w", encoding="utf-8") as file:
            file.writelines(" ".join(rng.choices(words, k=8)) + "\n" for _ in range(n))
        with open(os.path.join(folder, part + "_labels.txt"), "w", encoding="utf-8") as file:
            file.writelines("%d\n" % rng.randrange(2) for _ in range(n))
    with open(os.path.join(folder, "mapping.txt"), "w", encoding="utf-8") as file:
        file.write("0\tyes\n1\tno\n")


class Job:
    def __init__(self, work, shards, steps, pictures=False, samples=1):
        """`samples` of a shard; `pictures`: the detector instead of the text classifier."""
        self.work, self.shards, self.steps = work, shards, steps
        data = os.path.join(work, "data")
        self.keys = (PICTURES if pictures else TEXTS) + COMMON + [
            "train.batch=%d" % (shards * samples), "train.shards=%d" % shards]
        self.data = "data.root=" + data
        if not pictures:
            write_texts(data)

    def command(self, folder, *keys):
        return [os.path.abspath(BIN), "train", *self.keys, self.data, "train.steps=%d" % self.steps,
                "run.dir=" + folder, *keys]

    def name(self):
        digest = hashlib.sha256("\n".join(self.keys).encode())
        with open(BIN, "rb") as file:
            digest.update(file.read())
        return "%s-%d" % (digest.hexdigest()[:24], self.steps)

    def undisturbed(self):
        """`state sha256` of one process that is left alone; kept, as it is always the same."""
        path = os.path.join(KEPT, self.name())
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                return file.read().strip()
        run = start(self.command(os.path.join(self.work, "undisturbed"), "checkpoint.interval=evaluation",
                                 "train.threads=%d" % min(os.cpu_count() or 1, self.shards), "run.log=info"),
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        out, err = run.communicate()
        found = re.search(r"^state sha256: ([0-9a-f]{64})$", out, re.M)
        if run.returncode != 0 or not found:
            raise SystemExit("replay-trace: the undisturbed run ended with %d: %s" % (
                run.returncode, err.strip()[-300:]))
        os.makedirs(KEPT, exist_ok=True)
        with open(path + ".tmp", "w", encoding="utf-8") as file:
            file.write(found.group(1) + "\n")
        os.rename(path + ".tmp", path)
        return found.group(1)
