"""Trainings killed again and again until they are done, and what must be true after each kill."""
import json
import os
import random
import shutil
from dataclasses import dataclass, field

try:
    import h5py
except ImportError:
    h5py = None

from training import Plan, examine, file_id_of, model_files, train

# of the library, at each call, with how many of them a step makes: so far into a training they hit
CALLS = {"open": 4, "write": 1, "ftruncate": 1, "fsync": 3, "rename": 2, "link": 1, "unlink": 3}
WAYS = {"open": ["before", "after"], "write": ["before", "middle", "during", "after"],
        "ftruncate": ["before", "after"], "fsync": ["before", "during", "after"],
        "rename": ["before", "after"], "link": ["before", "after"], "unlink": ["before", "after"]}
LIES = ["tear", "hole"]
KEEP_LAST, KEEP_BEST = 2, 1


@dataclass
class Row:
    """A line of the table."""
    kills: int = 0
    failed: int = 0        # restarts
    damaged: int = 0       # files
    lost: dict = field(default_factory=lambda: {"sync": 0, "async": 0})  # finished steps, at most
    checkpoint: int = 0    # of the kills: during one
    evaluation: int = 0


class Table:
    def __init__(self):
        self.rows, self.faults = {}, []
        self.read_by_h5py = 0

    def row(self, kind):
        return self.rows.setdefault(kind, Row())

    def fault(self, kind, what, folder=""):
        self.faults.append("%s: %s%s" % (kind, what, " (%s)" % folder if folder else ""))
        print("fault: " + self.faults[-1], flush=True)

    @property
    def kills(self):
        return sum(row.kills for row in self.rows.values())


class Reference:
    """What an undisturbed training ends with."""

    def __init__(self, root, name, keys):
        folder = os.path.join(root, "undisturbed-" + name)
        result = train(folder, keys)
        if result.status != 0 or not result.hash:
            raise SystemExit("chaos: the undisturbed training ended with %d: %s" %
                             (result.status, "\n".join(result.err[-5:])))
        self.hash, self.steps = result.hash, result.finished[-1]
        with open(os.path.join(folder, "metrics.jsonl"), encoding="utf-8") as lines:
            self.metrics = lines.read()
        scores = [(line["step"], line.get("mAP50", line.get("value")))
                  for line in map(json.loads, self.metrics.splitlines())]
        self.best_at = {}  # step -> the best evaluation's until then
        best = (0, -1.0)
        for step in range(self.steps + 1):
            for at, score in scores:
                if at == step and score > best[1]:
                    best = (at, score)
            self.best_at[step] = best[0]


@dataclass
class Mode:
    """How often a training saves, and what a kill may cost it."""
    name: str
    keys: list
    bound: int  # finished steps; None: as many as it likes
    reference: Reference = None


def modes(root, epochs):
    """Four pictures a step without sync: writing a checkpoint takes about as long as a step, so that
    sometimes one waits for the other and sometimes not."""
    one = ["train.batch=1", "train.eval_every=1", "train.epochs=%d" % epochs]
    four = ["train.batch=4", "train.eval_every=4", "train.epochs=%d" % (4 * epochs)]
    all_modes = [
        Mode("sync", one + ["checkpoint.every_steps=1", "checkpoint.sync=true"], 0),
        Mode("async", four + ["checkpoint.every_steps=1"], 2),
        Mode("auto", one, None)]
    all_modes[0].reference = all_modes[2].reference = Reference(root, "one", one)
    all_modes[1].reference = Reference(root, "four", four)
    return all_modes


def choose(rng, row_weights, mode):
    """A plan for the next life of a training; the clock jumps in every fifth."""
    plan = choose_kill(rng, row_weights, 5 if mode.bound is not None else 1)
    if rng.random() < 0.2:
        plan.clock = rng.choice([-1, 1]) * rng.randint(1, 10 ** 9)
    return plan


def choose_kill(rng, row_weights, checkpoints):
    kind = rng.choices(list(row_weights), list(row_weights.values()))[0]
    if kind == "outside, at any time":
        return Plan(kind, seconds=rng.uniform(0, 0.7), signals=(9,))
    if kind == "outside, in a step":
        return Plan(kind, line="step ", nth=rng.randint(1, 6), seconds=rng.uniform(0, 0.02),
                    signals=(9,))
    if kind == "outside, in an evaluation":
        return Plan(kind, line="evaluating", seconds=rng.uniform(0, 0.03), signals=(9,))
    what, call = kind.split(" ")[0], kind.split(" ")[1]
    if what in LIES:
        return Plan(kind, rule="%s:fsync:%d:%d" % (what, rng.randint(5, 25), rng.randint(1, 30)))
    return Plan(kind, rule="%s:%s:%d" % (what, call, rng.randint(1, checkpoints * CALLS[call] + 6)))


def weights():
    w = {"outside, at any time": 3, "outside, in a step": 4, "outside, in an evaluation": 3}
    for call, ways in WAYS.items():
        w.update({"%s %s" % (way, call): 2 / len(ways) + 0.5 for way in ways})
    w.update({"%s fsync" % lie: 1 for lie in LIES})
    return w


class Life:
    """One training, from nothing to its end, through as many kills as it takes."""

    def __init__(self, table, folder, mode, rng):
        self.table, self.reference, self.folder = table, mode.reference, folder
        self.mode, self.rng = mode, rng
        self.done = False
        self.finished = 0        # the highest step that was said to be finished
        self.before = None       # the plan of the last kill
        self.durable = -1        # the highest checkpoint that was said to be durable
        self.lied = set()        # files that a disk has lied about: (inode, time of writing)
        self.lied_now = False    # the disk, at the last kill
        self.in_doubt = False    # it has, and no training has gone on since
        self.faults = len(table.faults)

    def live(self, plan):
        result = train(self.folder, self.mode.keys, plan)
        kind = self.before.kind if self.before else plan.kind
        if result.killed:
            self.after_kill(plan, result)
        elif result.status != 0:
            self.ended_badly(kind, plan, result)
        self.check_resumed(kind, result)
        self.before = plan if result.killed else None
        self.in_doubt = self.in_doubt or (result.killed and self.lied_now)
        if result.status == 0:
            self.at_the_end(plan, result)

    def ended_badly(self, kind, plan, result):
        """A restart that neither went on nor was killed. A disk that lied about the only
        checkpoint there was is told with 65, each time."""
        if result.status == 65 and self.lied and "--fresh" in result.err[-1]:
            shutil.rmtree(self.folder)
            self.finished, self.durable, self.lied, self.before = 0, -1, set(), None
            self.in_doubt = False
            return
        self.table.row(kind).failed += 1
        self.table.fault(kind, "the restart ended with %d (plan %s): %s" % (
            result.status, plan, "\n".join(result.err[-3:])), self.folder)
        self.done = True

    def check_resumed(self, kind, result):
        """Where it went on, against what was finished before the kill."""
        at = result.resumed
        if at < 0 and result.finished:
            at = result.finished[0] - 1
        if at < 0:
            return
        lost = self.finished - at
        if self.before is not None and not self.in_doubt:
            if at < self.durable:
                self.table.fault(kind, "%s: the checkpoint of step %d was durable, went on from %d"
                                 % (self.mode.name, self.durable, at), self.folder)
            if self.mode.bound is not None:
                row = self.table.row(kind)
                row.lost[self.mode.name] = max(row.lost[self.mode.name], lost)
                if lost > self.mode.bound:
                    self.table.fault(kind, "%s: %d finished steps lost: %d was finished, went on "
                                     "from %d" % (self.mode.name, lost, self.finished, at),
                                     self.folder)
        self.finished = max([at] + result.finished)
        self.durable = max([at] + result.durable)
        self.in_doubt = False

    def after_kill(self, plan, result):
        row = self.table.row(plan.kind)
        row.kills += 1
        row.evaluation += result.evaluating
        folder = os.path.join(self.folder, "checkpoints")
        unfinished = os.path.isdir(folder) and any(n.endswith(".tmp") for n in os.listdir(folder))
        row.checkpoint += unfinished or ".h5" in result.struck
        self.lied_now = plan.kind.split(" ")[0] in LIES
        files = model_files(self.folder)
        steps = examine(files.values())
        for file, path in files.items():
            if steps[path] is None and self.lied_now:
                self.lied.add(file)
            elif steps[path] is None and file not in self.lied:
                row.damaged += 1
                self.table.fault(plan.kind, "%s is not whole" % path, self.folder)
        self.check_best(plan, result, steps)
        self.check_tidy(plan, result)

    def check_best(self, plan, result, steps):
        """Once it has gone on, best.h5 is that of the best evaluation so far."""
        if result.resumed < 0 or self.lied:
            return
        path = os.path.join(self.folder, "best.h5")
        last = max([result.resumed] + result.finished)
        allowed = {self.reference.best_at[min(s, self.reference.steps)]
                   for s in range(max(0, result.resumed - 1), last + 1)}
        best = examine([path])[path] if os.path.exists(path) else 0
        if best is not None and best not in allowed:
            self.table.fault(plan.kind, "best.h5 is of step %d, not %s (went on from %d, killed "
                             "after %d)" % (best, sorted(allowed), result.resumed, last),
                             self.folder)

    def check_tidy(self, plan, result):
        """What earlier lives left half-written is gone, what retention deletes too."""
        if result.resumed < 0:
            return
        folder = os.path.join(self.folder, "checkpoints")
        names = os.listdir(folder)
        n_tmp = sum(n.endswith(".tmp") for n in names)
        n_h5 = sum(n.endswith(".h5") for n in names)
        if n_tmp > 1 or n_h5 > KEEP_LAST + KEEP_BEST + 2:
            self.table.fault(plan.kind, "checkpoints/ holds %s" % " ".join(sorted(names)),
                             self.folder)

    def at_the_end(self, plan, result):
        self.done = True
        with open(os.path.join(self.folder, "metrics.jsonl"), encoding="utf-8") as lines:
            metrics = lines.read()
        if result.hash != self.reference.hash:
            self.table.fault(self.mode.name, "state sha256 %s, undisturbed %s" % (
                result.hash, self.reference.hash), self.folder)
        if metrics != self.reference.metrics:
            self.table.fault(self.mode.name, "metrics.jsonl differs", self.folder)
        if h5py:
            self.read_with_h5py()
        want = {"best.h5": self.reference.best_at[self.reference.steps],
                "last.h5": self.reference.steps}
        for name, step in want.items():
            path = os.path.join(self.folder, name)
            found = examine([path])[path]
            # nobody looks into what was written before the newest, until it is used
            if found != step and not (found is None and file_id_of(path) in self.lied):
                self.table.fault(self.mode.name, "%s is of step %s, not %d" % (name, found, step),
                                 self.folder)
        if self.faults == len(self.table.faults):
            shutil.rmtree(self.folder)


    def read_with_h5py(self):
        def read(_, item):
            if isinstance(item, h5py.Dataset):
                item[()]

        for file_id, path in model_files(self.folder).items():
            if file_id in self.lied:
                continue
            try:
                with h5py.File(path, "r") as file:
                    file.visititems(read)
                self.table.read_by_h5py += 1
            except OSError as error:
                self.table.fault(self.mode.name, "%s: h5py: %s" % (path, error), self.folder)


def kill_all(table, all_modes, roots, kills, rng):
    """Lives of all modes on all disks in turn, until there were so many kills."""
    w, n = weights(), 0
    start = table.kills
    while table.kills - start < kills:
        mode = all_modes[n % len(all_modes)]
        folder = os.path.join(roots[n % len(roots)], "run-%d" % n)
        life = Life(table, folder, mode, random.Random(rng.random()))
        while not life.done:
            enough = table.kills - start >= kills
            life.live(Plan("none") if enough else choose(life.rng, w, mode))
        n += 1
        print("%d kills, %d trainings, %d faults" % (table.kills - start, n, len(table.faults)),
              flush=True)
    return n
