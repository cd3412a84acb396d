"""What else befalls a training: signals, a second process, full and failing disks, one that lies."""
import os
import shutil
import signal

from kills import Reference
from training import Plan, Training, examine, train

EACH_STEP = ["checkpoint.every_steps=1"]
SYNC = EACH_STEP + ["checkpoint.sync=true"]
EVALUATIONS = ["checkpoint.interval=evaluation"]


class Cases:
    def __init__(self):
        self.failed = 0

    def case(self, name, ok, why=""):
        self.failed += not ok
        print("ok - " + name if ok else "not ok - %s: %s" % (name, why), flush=True)


class Stage:
    """Small trainings, each in a folder of its own, compared with an undisturbed one."""

    def __init__(self, cases, root, rng):
        self.cases, self.root, self.rng = cases, root, rng
        self.keys = ["train.batch=1", "train.eval_every=1", "train.epochs=2"]
        self.reference = Reference(root, "acts", self.keys)

    def folder(self, name):
        return os.path.join(self.root, name.replace(" ", "-"))

    def train(self, name, keys, plan=None):
        return train(self.folder(name), self.keys + keys, plan)

    def same(self, name, result):
        """`result` is the end of a training like the undisturbed one."""
        folder, want = self.folder(name), self.reference
        links = [os.path.join(folder, n) for n in ("best.h5", "last.h5")]
        steps = examine(links)
        with open(os.path.join(folder, "metrics.jsonl"), encoding="utf-8") as lines:
            metrics = lines.read()
        self.cases.case(name + ": the same bits", result.status == 0 and result.hash == want.hash,
                        "status %d, %s instead of %s" % (result.status, result.hash, want.hash))
        self.cases.case(name + ": the same metrics", metrics == want.metrics, folder)
        self.cases.case(name + ": best.h5 and last.h5", [steps[l] for l in links] ==
                        [want.best_at[want.steps], want.steps], str(steps))

    def expect(self, name, result, status, *texts):
        said = result.out + "\n".join(result.err)
        missing = [t for t in texts if t not in said]
        self.cases.case(name, result.status == status and not missing, "status %d, no %s in: %s" % (
            result.status, missing, said[-300:].replace("\n", " | ")))


def two_processes(stage):
    name = "a second process"
    first = Training(stage.folder(name), stage.keys + EACH_STEP)
    first.wait_for("step ")
    second = stage.train(name, EACH_STEP)
    stage.expect(name, second, 69, "another process trains in this folder")
    stage.cases.case(name + ": says nothing else", not second.out and len(second.err) == 1,
                     second.out + str(second.err))
    stage.same("a second process", first.end())


def signals(stage, name, numbers, line, times):
    """Ended politely, at random instants, and gone on with from exactly there."""
    for i in range(times):
        plan = Plan(name, line=line, nth=stage.rng.randint(1, 6), signals=numbers,
                    seconds=stage.rng.uniform(0, 0.02))
        if line == "evaluating":
            plan.nth = 1
        result = stage.train(name, [], plan)
        if result.status == 0:
            break
        stage.expect("%s %d" % (name, i), result, 75, "interrupted: saved step ")
        saved = int(result.out.rsplit("interrupted: saved step ", 1)[1].split()[0])
        again = stage.train(name, [], Plan("stop", line="step ", signals=(signal.SIGTERM,)))
        stage.cases.case("%s %d: goes on from there" % (name, i), again.resumed == saved,
                         "from %d, saved was %d" % (again.resumed, saved))
    stage.same(name, stage.train(name, []))


def hurry(stage):
    """SIGUSR1 saves, and every step from then on."""
    name = "SIGUSR1"
    running = Training(stage.folder(name), stage.keys + EVALUATIONS,
                       Plan(name, line="step 3:", signals=(signal.SIGUSR1,)))
    running.wait_for("step 12:")
    while running.open and sum(": durable" in line for line in running.lines) < 2:
        running.turn()  # a text's steps are faster than a disk
    running.process.kill()
    result = running.end()
    stage.cases.case(name + ": nothing was saved before", not [s for s in result.durable if s < 3],
                     str(result.durable))
    stage.cases.case(name + ": and steps from then on", len(result.durable) >= 2,
                     str(result.durable))
    again = stage.train(name, EVALUATIONS)
    stage.cases.case(name + ": goes on from the newest", again.resumed >= max(result.durable + [1]),
                     "from %d, durable were %s" % (again.resumed, result.durable))
    stage.same(name, again)


def failing_disk(stage, what, call, n, count, warned=True):
    """For `count` calls from the n-th the disk takes nothing: training goes on, and catches up."""
    name = "%s in %s" % (what.upper(), call)
    result = stage.train(name, EACH_STEP, Plan(name, rule="%s:%s:%d:%d" % (what, call, n, count)))
    stage.expect(name, result, 0, *["checkpoints can be written again"] * warned)
    warnings = [l for l in result.err if "none was written since the start" in l or
                "the newest checkpoint is of step" in l]
    stage.cases.case(name + ": one warning", len(warnings) == warned, str(warnings))
    stage.same(name, result)


def full_to_the_end(stage):
    name = "no room to the end"
    result = stage.train(name, EACH_STEP, Plan(name, rule="enospc:write:8:1000000000"))
    stage.expect(name, result, 74, "No space left on device", "training goes on")
    left = [n for n in os.listdir(os.path.join(stage.folder(name), "checkpoints"))
            if n.endswith(".tmp")]
    stage.cases.case(name + ": nothing half-written", not left, str(left))
    again = stage.train(name, EACH_STEP)
    stage.expect(name + ", then room", again, 0, "resumed: step ")
    stage.same(name, again)


def best_not_named(stage):
    """Killed when the best checkpoint has its name and best.h5 is not yet another one of it."""
    name = "killed before best.h5"
    killed = stage.train(name, EVALUATIONS, Plan(name, rule="before:link:2"))
    best = os.path.join(stage.folder(name), "best.h5")
    stage.cases.case(name, killed.killed and "best.h5" in killed.struck and
                     not os.path.exists(best), killed.struck)
    stage.train(name, EVALUATIONS + ["train.steps=17"])
    found = examine([best])[best] if os.path.exists(best) else "missing"
    stage.cases.case(name + ": is there after a restart", found == 16, found)
    stage.same(name, stage.train(name, EVALUATIONS))


def sync_behind_evaluation(stage):
    """A restart makes an evaluation up, not the best one: the checkpoint of the step after it meets
    that of the evaluation, which waits while the writer still lays out its images."""
    name, keys = "sync behind an evaluation", SYNC + ["train.epochs=8", "train.steps=40"]
    first, folder = stage.folder(name + " as killed"), stage.folder(name)
    stage.train(name + " as killed", keys, Plan(name, line="evaluating after step 32",
                                                signals=(signal.SIGKILL,)))
    for n in range(4, 6):
        shutil.copytree(first, folder)
        killed = stage.train(name, keys, Plan(name, rule="before:write:%d" % n))
        last = stage.train(name, keys)
        best = os.path.join(folder, "best.h5")
        stage.cases.case("%s: killed at write %d, nothing finished is lost" % (name, n),
                         killed.killed and examine([best])[best] == 16 and
                         last.resumed >= max([32] + killed.finished),
                         "finished %s, went on from %d" % (killed.finished, last.resumed))
        shutil.rmtree(folder)


def lying_disk(stage):
    """The only checkpoint loses its end after fsync: said each time, and nothing is thrown away."""
    name = "a disk that lies"
    killed = stage.train(name, EVALUATIONS, Plan(name, rule="tear:fsync:1:12"))
    stage.cases.case(name, killed.killed and killed.struck.startswith("tear"), str(killed.status))
    for _ in range(2):
        stage.expect(name + ": nothing whole is left", stage.train(name, EVALUATIONS), 65,
                     "none of its 1 checkpoints is whole", "--fresh starts over")
    stage.same(name, stage.train(name, EVALUATIONS + ["--fresh"]))
    name = "a disk that lies about the newest"
    stage.train(name, SYNC, Plan(name, line="step 5:", signals=(signal.SIGKILL,)))
    folder = stage.folder(name)
    newest = max(n for n in os.listdir(folder + "/checkpoints") if n.endswith(".h5"))
    with open(os.path.join(folder, "checkpoints", newest), "r+b") as file:
        file.truncate(os.path.getsize(file.name) - 4096)
    again = stage.train(name, SYNC, Plan("stop", line="step ", signals=(signal.SIGKILL,)))
    stage.expect(name, again, -9, newest + ".damaged", "resumed: step ")
    last = os.path.join(folder, "last.h5")
    stage.cases.case(name + ": last.h5 is whole", examine([last])[last] is not None, last)
    stage.same(name, stage.train(name, SYNC))


def no_links(stage):
    """A file system without hard links: copies, and the same otherwise."""
    name = "no hard links"
    broken = "eio:link:1:1000000000"
    stage.same(name, stage.train(name, EACH_STEP, Plan(name, rule=broken)))


def jumping_clock(stage):
    name = "a clock that jumps"
    stage.same(name, stage.train(name, [], Plan(name, clock=10 ** 8)))


def perform(cases, root, rng, short):
    stage = Stage(cases, root, rng)
    two_processes(stage)
    best_not_named(stage)
    sync_behind_evaluation(stage)
    lying_disk(stage)
    failing_disk(stage, "enospc", "write", 9, 6)
    signals(stage, "SIGTERM", (signal.SIGTERM,), "step ", 1 if short else 10)
    if short:
        return
    signals(stage, "SIGTERM while evaluating", (signal.SIGTERM,), "evaluating", 2)
    signals(stage, "SIGINT twice", (signal.SIGINT, signal.SIGINT), "step ", 10)
    hurry(stage)
    for what, call, n, count in (("eio", "write", 9, 6), ("eio", "fsync", 12, 9),
                                 ("eio", "rename", 10, 5), ("enospc", "open", 20, 12),
                                 ("eio", "ftruncate", 5, 4)):
        failing_disk(stage, what, call, n, count)
    failing_disk(stage, "enospc", "link", 6, 4, warned=False)
    full_to_the_end(stage)
    no_links(stage)
    jumping_clock(stage)
