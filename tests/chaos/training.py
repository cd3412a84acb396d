"""One training as a process: started, watched line by line, and killed when a plan says so."""
import os
import re
import select
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field

BIN = "bin/train"
LIBRARY = "build/release/tests/chaos/preload.so"
WHOLE = "build/release/tests/chaos/whole"

# The smallest networks on the smallest inputs: a step of one picture takes some 10 ms, one of a text
# less. 16 samples to train on, 4 to evaluate.
KEYS = ["train.shards=1", "train.warmup=0", "train.threads=1", "run.plots=false", "run.log=debug",
        "spot.provider=none"]
PICTURES = ["--config", "configs/mask-demo.ini", "data.synthetic=20", "model.input=64", "model.stride=8"]
TEXTS = ["--config", "configs/sms.ini", "model.bag=32", "model.layers=2", "model.width=64", "model.heads=4",
         "text.buckets=20011", "text.subwords=300", "train.lr=0.001"]
subject = PICTURES


def write_texts(folder, samples=16):
    """The data set of TEXTS, where it is not there yet."""
    if os.path.exists(folder):
        return
    made = tempfile.mkdtemp(dir=os.path.dirname(folder))
    for part, n in (("train", samples), ("val", 4)):
        with open(os.path.join(made, part + "_text.txt"), "w", encoding="utf-8") as file:
            for i in range(n):
                file.write("%s number %d%s\n" % (("a good day", "a bad night")[i % 2], i, " and on" * (i % 5)))
        with open(os.path.join(made, part + "_labels.txt"), "w", encoding="utf-8") as file:
            file.write("".join("%d\n" % (i % 2) for i in range(n)))
    with open(os.path.join(made, "mapping.txt"), "w", encoding="utf-8") as file:
        file.write("0\tgood\n1\tbad\n")
    os.rename(made, folder)


@dataclass
class Plan:
    """What befalls a training: a rule for the library, or signals from outside."""
    kind: str
    rule: str = ""        # SG_CHAOS
    seconds: float = 0    # after the start, or after the nth line that begins with `line`
    line: str = ""
    nth: int = 1
    signals: tuple = ()   # sent one after the other
    clock: int = 0        # SG_CHAOS_CLOCK


@dataclass
class Result:
    """What a training said and did."""
    status: int
    out: str
    err: list
    struck: str = ""                               # what the library did: "WHAT CALL N PATH"
    finished: list = field(default_factory=list)   # steps
    durable: list = field(default_factory=list)    # checkpoints
    resumed: int = -1                              # -1: said nothing
    evaluating: bool = False                       # at its end

    @property
    def killed(self):
        return self.status == -signal.SIGKILL

    @property
    def hash(self):
        found = re.search(r"^state sha256: ([0-9a-f]{64})$", self.out, re.M)
        return found and found.group(1)


def read_lines(result):
    for line in result.err:
        step = re.match(r"train: step (\d+): ", line)
        durable = re.match(r"train: checkpoint of step (\d+): durable", line)
        if step:
            result.finished.append(int(step.group(1)))
            result.evaluating = False
        if durable:
            result.durable.append(int(durable.group(1)))
        if line.startswith("train: evaluating after step"):
            result.evaluating = True
    found = re.search(r"^resumed: step (\d+) ", result.out, re.M)
    if found:
        result.resumed = int(found.group(1))
    return result


class Training:
    """A process on `folder`; its data are beside it."""
    started = 0

    def __init__(self, folder, keys, plan=None, limit=120):
        self.folder, self.plan, self.limit = folder, plan or Plan("none"), limit
        Training.started += 1
        self.log = "%s.struck-%d" % (folder, Training.started)
        self.text, self.lines, self.hits = b"", [], 0
        env = dict(os.environ, SG_CHAOS_DIR=folder, SG_CHAOS_LOG=self.log)
        if self.plan.rule or self.plan.clock:
            env["LD_PRELOAD"] = os.path.abspath(LIBRARY)
            env["SG_CHAOS"] = self.plan.rule or "before:any:1000000000"
            if self.plan.clock:
                env["SG_CHAOS_CLOCK"] = str(self.plan.clock)
        self.out = tempfile.TemporaryFile("w+")
        self.begun = time.monotonic()
        data = os.path.join(os.path.dirname(folder), "data")
        if subject is TEXTS:
            write_texts(data)
        self.process = subprocess.Popen(
            [BIN] + subject + ["run.dir=" + folder, "data.root=" + data] + KEYS + keys,
            stdin=subprocess.DEVNULL, stdout=self.out, stderr=subprocess.PIPE, env=env)
        self.due = self.begun + self.plan.seconds if self.plan.signals and not self.plan.line \
            else None
        self.open = True

    def turn(self):
        """Read what comes within a second, or until the plan's signals are due and sent. The
        plan's line sets the clock."""
        now, pipe = time.monotonic(), self.process.stderr
        if now - self.begun > self.limit:
            self.process.kill()
            raise SystemExit("chaos: %s: hangs; its last line: %s" %
                             (self.folder, self.lines[-1] if self.lines else "none"))
        if self.due and now >= self.due:
            self.due = None
            self.signal()
        timeout = min(1, self.due - now) if self.due else 1
        if not select.select([pipe], [], [], timeout)[0]:
            return
        data = os.read(pipe.fileno(), 65536)
        self.open = bool(data)
        *whole, self.text = (self.text + data).split(b"\n")
        for line in whole:
            self.lines.append(line.decode("utf-8", "replace"))
            if self.plan.line and self.lines[-1].startswith("train: " + self.plan.line):
                self.hits += 1
                if self.hits == self.plan.nth:
                    self.due = time.monotonic() + self.plan.seconds

    def wait_for(self, start):
        """Until a line begins so; False when the process ends before."""
        while self.open:
            if any(line.startswith("train: " + start) for line in self.lines):
                return True
            self.turn()
        return False

    def signal(self):
        for number in self.plan.signals:
            self.process.send_signal(number)
            if len(self.plan.signals) > 1:
                time.sleep(0.005)

    def end(self):
        """Let the plan happen and the process end."""
        while self.open:
            self.turn()
        status = self.process.wait()
        self.process.stderr.close()
        self.out.seek(0)
        result = Result(status, self.out.read(), self.lines)
        self.out.close()
        if os.path.exists(self.log):
            with open(self.log) as log:
                result.struck = log.readline().strip()
            os.remove(self.log)
        return read_lines(result)


def train(folder, keys, plan=None):
    return Training(folder, keys, plan).end()


def file_id_of(path):
    """Other than that of any file which takes its place: inode, time of writing."""
    info = os.stat(path)
    return info.st_ino, info.st_mtime_ns


def model_files(folder):
    """Everything that calls itself a checkpoint, each file once: id -> path."""
    found = {}
    for where in (os.path.join(folder, "checkpoints"), folder):
        if os.path.isdir(where):
            for name in sorted(os.listdir(where)):
                path = os.path.join(where, name)
                if name.endswith(".h5"):
                    found.setdefault(file_id_of(path), path)
    return found


def examine(paths):
    """Path -> its step, or None where it is damaged."""
    steps = {}
    if not paths:
        return steps
    done = subprocess.run([WHOLE] + list(paths), stdout=subprocess.PIPE, text=True, check=False)
    for line, path in zip(done.stdout.splitlines(), paths):
        steps[path] = int(line.split()[1]) if line.startswith("whole ") else None
    if len(steps) != len(paths):
        raise SystemExit("chaos: %s: ended with %d" % (WHOLE, done.returncode))
    return steps
