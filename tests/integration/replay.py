# lane: waiting
# time limit: 300
"""scripts/replay-trace: its figures on facts worked out by hand; a small trace in which nodes come, go,
all go, fall silent and are given notice; and that none of its workers outlives it."""
import importlib.machinery
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, "scripts/replay")
import account  # noqa: E402
import faults  # noqa: E402
import fleet  # noqa: E402
import jobs  # noqa: E402
import traces  # noqa: E402

TRACE = "t_s,nodes\n0,3\n20,4\n30,2\n40,3\n50,0\n55,2\n60,3\n70,3\n"
failed = False


def case(name, ok, why=""):
    global failed
    failed = failed or not ok
    print("ok - " + name if ok else "not ok - %s: %s" % (name, why), flush=True)


def near(a, b):
    return a is not None and abs(a - b) < 1e-6


def check_figures():
    """Two workers from 0 to 10 s, four shards of 0.5 s each: a step takes 1 s, alone 2 s. Of steps at 1,
    2, .. 6 the next group's is at 9.3: worker 1 is killed at 6.4, whose place worker 2 takes at 10."""
    f = fleet.Facts()
    f.starts = [(0.0, 0), (0.0, 1), (10.0, 2)]
    f.ends = [(6.4, 1, "kill")]
    f.paid = [(0.0, 20.0), (0.0, 6.4), (10.0, 20.0)]
    f.formed = [(0.0, 1, n, 2, 0) for n in (0, 1)] + [(7.0, 2, 0, 1, 6)] + [(13.5, 3, n, 2, 8) for n in (0, 2)]
    f.finished = [(float(s), s, 1, n) for s in range(1, 7) for n in (0, 1)]
    f.finished += [(9.3, 7, 2, 0), (11.3, 8, 2, 0)]
    f.finished += [(14.5 + s, 9 + s, 3, n) for s in range(5) for n in (0, 2)]
    a = account.Account(f, shards=4, pace=0.5, end=20.0)
    got = a.figures()
    case("figures: steps of nothing but their pace", near(a.step_seconds(2), 1.0) and near(a.step_seconds(1), 2.0),
         (a.step_seconds(2), a.step_seconds(1)))
    case("figures: a death's stall is beyond the redone step", near(got["stalls_death"]["max"], 9.3 - 6.4 - 2.0),
         got["stalls_death"])
    case("figures: a join's stall", near(got["stalls_orderly"]["max"], 14.5 - 11.3 - 1.0), got["stalls_orderly"])
    case("figures: given up", near(got["discarded_seconds"], 0.4), got["discarded_seconds"])
    case("figures: a node's first step", near(got["joins"]["max"], 4.5), got["joins"])
    ideal = 6.4 + 3.6 / 2 + 10
    case("figures: goodput", near(got["ideal_steps"], round(ideal, 1)) and near(got["goodput"], 13 / ideal),
         (got["ideal_steps"], got["goodput"]))
    slow = account.Account(f, shards=4, pace=0.5, end=20.0, speed=10.0).figures()["goodput_true_time"]
    case("figures: on the trace's own time line", near(slow, 1 - (1 - 13 / ideal) / 10), slow)
    f.failed = [(1.0, 0, 69, ""), (2.0, 0, 75, ""), (3.0, 1, 69, "")]
    case("figures: those who found no place", account.Account(f, 4, 0.5, 20.0).figures()["unusable"] == 2)
    f.formed.append((19.0, 4, 0, 1, 10))
    case("figures: lost steps", account.Account(f, 4, 0.5, 20.0).lost_steps() == 3)
    case("figures: percentiles", account.percentile(range(1, 101), 99) == 99 and account.percentile([5], 50) == 5 and
         account.percentile([], 50) is None)


def check_judge():
    """A replay is good if all ended as they should, whatever the hash."""
    loader = importlib.machinery.SourceFileLoader("replay_trace", "scripts/replay-trace")
    script = importlib.util.module_from_spec(importlib.util.spec_from_loader("replay_trace", loader))
    loader.exec_module(script)

    def judged(*statuses):
        f = fleet.Facts()
        f.hashes, f.failed = {"a"}, [(1.0, 0, status, "") for status in statuses]
        return script.judge({}, f, "a")
    got = [judged(), judged(-9, 75, 74), judged(69), judged(-9, 78)]
    case("who found no place, and who is not started again, spoil a replay", got == [True, True, False, False], got)


def check_traces(work):
    path = os.path.join(work, "bad.csv")
    with open(path, "w", encoding="utf-8") as file:
        file.write("t_s,nodes\n0,3\n5,x\n")
    said = subprocess.run(["scripts/replay-trace", path], capture_output=True, text=True, check=False)
    case("a bad line is named", said.returncode == 65 and said.stderr.count("\n") == 1 and
         path + ":3: '5,x'" in said.stderr, said.stderr)
    rows = [(0, 3), (10, 1), (20, 4), (30, 4)]
    plan = traces.Plan(rows, speed=10)
    ups = [sum(1 if e.what == "start" else -1 for e in plan.events if e.at <= t) for t in (0, 1, 2)]
    case("as many nodes as the trace says", ups == [3, 1, 4] and plan.seconds == 3, ups)
    case("a part of a trace", traces.cut(rows, 5, 25) == [(0.0, 3), (5, 1), (15, 4), (20, 4)], traces.cut(rows, 5, 25))
    case("a smaller fleet", [n for _, n in traces.shrink([(0, 5), (1, 0), (2, 4)], 4)] == [2, 0, 1])


def replay(work, *arguments):
    path = os.path.join(work, "trace.csv")
    with open(path, "w", encoding="utf-8") as file:
        file.write(TRACE)
    said = subprocess.run(["scripts/replay-trace", path, "--speed", "10", "--pace", "0.02", "--json", *arguments],
                          capture_output=True, text=True, check=False, env=dict(os.environ, TMPDIR=work))
    try:
        return said.returncode, json.loads(said.stdout), said.stderr
    except ValueError:
        return said.returncode, {}, said.stderr


def check_replay(work, name, changes, *arguments):
    status, got, err = replay(work, *arguments)
    case(name + ": the same bits", got.get("same") is True and len(got["hash"]) == 64, (status, got.get("hash"), err))
    case(name + ": nothing died or hung", status == 0 and got.get("dead_jobs") == 0 and got.get("hangs") == 0,
         (status, err))
    case(name + ": nodes came and went", got.get("changes", 0) >= changes and 0 < got.get("goodput", 0) <= 1.2,
         (got.get("changes"), got.get("goodput")))
    return got


def check_late(work):
    """One who comes when the run is over, with a folder of its own, has nothing to do; one who is to
    train something else in the same place has."""
    job = jobs.Job(os.path.join(work, "late"), 8, 20)
    store = "distributed.store=file://" + os.path.join(work, "late", "group")

    def train(folder, *keys):
        return subprocess.run(job.command(os.path.join(work, "late", folder), store, *keys), capture_output=True,
                              text=True, check=False)
    first, late, other = train("first"), train("late"), train("other", "run.seed=5")
    case("one who comes too late says how it ended", late.returncode == 0 and late.stdout and
         late.stdout == first.stdout, (late.returncode, late.stdout, first.stdout))
    case("and makes no step", "in epoch" in first.stderr and "in epoch" not in late.stderr, late.stderr[-200:])
    case("another run takes its place", other.returncode == 0 and "in epoch" in other.stderr and
         other.stdout != first.stdout, (other.returncode, other.stderr[-200:]))


def check_faults(work):
    """A network that is cut, and heals: one who was left outside comes in again. And that workers that are
    not told at which address they are reached find one by which data come, too."""
    missing = [name for name in faults.NEEDED if not shutil.which(name)]
    if os.geteuid() != 0 or missing or not os.path.exists(faults.GLOO):
        print("skip - a network that heals: needs root, %s, Gloo" % ", ".join(missing or ["what there is"]))
        return
    for name, fault, nodes, groups, *keys in (
            ("a silent line", "one way", 4, 2), ("a network cut in two", "cut in two", 5, 2),
            ("an address of no one's choice", "no fault", 3, 0, "distributed.interface=")):
        said = subprocess.run(["scripts/replay-trace", "--faults", "--only", fault, "--nodes", str(nodes), "--pace",
                               "0.02", "--json", *keys], capture_output=True, text=True, check=False,
                              env=dict(os.environ, TMPDIR=work))
        try:
            got = json.loads(said.stdout)
        except ValueError:
            got = {"faults": [{}]}
        done = got["faults"][0]
        case(name + ": the same bits", said.returncode == 0 and got.get("same") is True, said.stderr[-300:])
        case(name + ": data go by Gloo", got.get("transports") == ["gloo"], got.get("transports"))
        case(name + ": some go on, and all are together again once it is healed", len(got["faults"]) == 1 and
             done.get("groups", 0) >= groups and done.get("steps", 0) > 20 and done.get("whole_after") is not None, done)
    left = [name for name in os.listdir(work) if name.startswith("replay-trace-")]
    case("nothing is left of faults", not left, left)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start_etcd(work):
    ports = ["http://127.0.0.1:%d" % free_port() for _ in range(2)]
    etcd = jobs.start(["etcd", "--name=one", "--data-dir=" + os.path.join(work, "etcd"), "--listen-client-urls=" + ports[0],
                       "--advertise-client-urls=" + ports[0], "--listen-peer-urls=" + ports[1],
                       "--initial-advertise-peer-urls=" + ports[1], "--initial-cluster=one=" + ports[1]],
                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return etcd, "distributed.store=etcd://" + ports[0][len("http://"):] + "/silent"


def check_silent_store(work):
    """One who waits to be taken in goes on waiting while the store says nothing."""
    if not shutil.which("etcd"):
        print("skip - a silent store ends nobody: no etcd, scripts/setup ci installs it")
        return
    job = jobs.Job(os.path.join(work, "silent"), 8, 100)
    etcd, store = start_etcd(os.path.join(work, "silent"))

    def start(folder):
        return jobs.start(job.command(os.path.join(work, "silent", folder), store, "distributed.max_workers=1",
                                      "distributed.pace=0.02", "distributed.interface=127.0.0.1"),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(2)
    first = start("first")
    while "worker 0 of 1" not in first.stderr.readline():
        pass
    second = start("second")
    while "waiting to be taken in" not in second.stderr.readline():
        pass
    etcd.send_signal(signal.SIGSTOP)
    time.sleep(5)
    there = second.poll() is None
    etcd.send_signal(signal.SIGCONT)
    outs = [first.communicate(timeout=120)[0], second.communicate(timeout=120)[0]]
    etcd.kill()
    etcd.wait()
    case("a silent store ends nobody", there and first.returncode == second.returncode == 0 and outs[0] == outs[1] != "",
         (there, first.returncode, second.returncode, outs))


def workers_of(work):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/cmdline" % pid, "rb") as file:
                words = file.read()
        except OSError:
            continue
        if b"spotgrad" in words and work.encode() in words:
            found.append(int(pid))
    return found


def check_end(work, number):
    """Its end, of whatever kind, is that of its workers."""
    script = subprocess.Popen(["scripts/replay-trace", "--nodes", "3", "--every", "0", "--seconds", "60"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ, TMPDIR=work))
    end = time.monotonic() + 60
    while len(workers_of(work)) < 3 and time.monotonic() < end:
        time.sleep(0.1)
    there = len(workers_of(work))
    script.send_signal(number)
    script.wait()
    end = time.monotonic() + 10
    while workers_of(work) and time.monotonic() < end:
        time.sleep(0.1)
    left = workers_of(work)
    case("no worker outlives %s" % signal.Signals(number).name, there == 3 and not left, (there, left))


def main():
    check_figures()
    check_judge()
    with tempfile.TemporaryDirectory(prefix="spotgrad-test-") as work:
        check_traces(work)
        check_late(work)
        check_silent_store(work)
        check_faults(work)
        check_replay(work, "killed", 3)
        got = check_replay(work, "notice", 3, "--notice", "5", "--disk", "keep")
        case("notice: nothing given up", got.get("discarded_seconds") == 0, got.get("discarded_seconds"))
        got = check_replay(work, "silent", 2, "--speed", "5", "--silent", "1", "--disk", "shared")
        case("silent: noticed", got.get("stalls_silence", {}).get("n", 0) >= 1, got.get("stalls_silence"))
        for number in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM):
            check_end(work, number)
    return 1 if failed else 0


sys.exit(main())
