"""Faults of networks, machines and disks: each node is in namespaces of its own, of networks and of
processes (who can see another's could share memory with it), as if it were a machine, with a small disk;
nft drops what is to be lost. All of it is in namespaces of this script's own, which vanish with it."""
import os
import shutil
import signal
import subprocess
import sys

import account

INSIDE = "REPLAY_TRACE_INSIDE"
NEEDED = ("unshare", "ip", "nft", "mount", "umount")
GLOO = "bin/libspotgrad_gloo.so"
CALM = 2.0     # seconds before each fault
WHOLE = 20.0   # seconds after a fault for all to be together again
DISK = "24m"


def enter_own_world(argv):
    """Start again in namespaces of one's own."""
    if os.environ.get(INSIDE):
        return
    missing = [name for name in NEEDED if not shutil.which(name)]
    if os.geteuid() != 0 or missing:
        raise SystemExit("replay-trace: --faults needs root%s" % (
            ", and " + ", ".join(missing) + ": scripts/setup ci" if missing else ""))
    if not os.path.exists(GLOO):
        raise SystemExit("replay-trace: --faults needs %s, by which data go between machines: scripts/setup ci, make"
                         % GLOO)
    os.environ[INSIDE] = "1"
    os.execvp("unshare", ["unshare", "--mount", "--net", sys.executable, *argv])


def say(*command):
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit("replay-trace: %s: %s" % (" ".join(command), done.stderr.strip()))


def address(node):
    return "10.77.0.%d" % (node + 1)


def child_of(pid):
    """The only one; None: there is none."""
    for other in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % other, encoding="utf-8", errors="replace") as file:
                if int(file.read().rsplit(")", 1)[1].split()[1]) == pid:
                    return int(other)
        except OSError:
            continue
    return None


class Fault:
    """What is broken for how long. `on` and `off` are methods of Machines, with these arguments."""

    def __init__(self, name, seconds, on, off, *arguments):
        self.name, self.seconds, self.on, self.off, self.arguments = name, seconds, on, off, arguments
        self.began = self.ended = 0.0
        self.whole = None  # seconds after its end until all were in one group


def make_plan(o):
    last, other = o.nodes - 1, min(1, o.nodes - 1)
    o.disk = "keep"
    faults = [
        Fault("no fault", 5.0, None, None),
        Fault("every 20th packet of all is lost", 10.0, "drop", "heal", None, 5),
        Fault("every 5th packet of all is lost", 10.0, "drop", "heal", None, 20),
        Fault("one way between two of them is silent", 5.0, "silence", "heal", other, last),
        Fault("the other way", 5.0, "silence", "heal", last, other),
        Fault("one is cut off", 5.0, "cut", "heal", last),
        Fault("the first is cut off", 5.0, "cut", "heal", 0),
        Fault("the network is cut in two", 5.0, "part", "heal", o.nodes // 2),
        Fault("one is stopped for 0.5 s", 0.5, "stop", "go_on", last),
        Fault("one is stopped for 4 s", 4.0, "stop", "go_on", last),
        Fault("the first is stopped for 4 s", 4.0, "stop", "go_on", 0),
        Fault("all disks are full", 8.0, "fill", "empty"),
        Fault("one is killed", 1.0, "kill", "start", other),
        Fault("the first is killed", 1.0, "kill", "start", 0),
    ]
    chosen = [fault for fault in faults if o.only in fault.name]
    if not chosen:
        raise SystemExit("replay-trace: --only '%s': there are: %s" % (o.only, "; ".join(f.name for f in faults)))
    return chosen


def steps(plan, shards, o):
    whole = sum(CALM + fault.seconds + 5.0 for fault in plan)
    return int(whole / (o.pace * account.largest_share(shards, o.nodes))) + 1


class Machines:
    """Node k is namespace nk at 10.77.0.(k+1), on one bridge; its run.dir is a file system of DISK."""

    def __init__(self, o, work):
        self.options, self.work, self.fleet, self.plan = o, work, None, []
        os.makedirs("/run/netns", exist_ok=True)
        say("mount", "-t", "tmpfs", "netns", "/run/netns")
        say("ip", "link", "add", "hub", "type", "bridge")
        say("ip", "link", "set", "hub", "up")
        for node in range(o.nodes):
            self.make(node)

    def make(self, node):
        name = "n%d" % node
        say("ip", "netns", "add", name)
        say("ip", "link", "add", "v%d" % node, "type", "veth", "peer", "name", "eth0", "netns", name)
        say("ip", "link", "set", "v%d" % node, "master", "hub", "up")
        say("ip", "-n", name, "addr", "add", address(node) + "/24", "dev", "eth0")
        say("ip", "-n", name, "link", "set", "eth0", "up")
        say("ip", "-n", name, "link", "set", "lo", "up")
        folder = os.path.join(self.work, "node-%d" % node)
        os.makedirs(folder)
        say("mount", "-t", "tmpfs", "-o", "size=" + DISK, "disk", folder)

    def __call__(self, node):
        return ["ip", "netns", "exec", "n%d" % node, "unshare", "--pid", "--fork", "--kill-child"]

    def close(self):
        """Disks that are mounted could not be removed."""
        for node in range(self.options.nodes):
            subprocess.run(["umount", "--lazy", os.path.join(self.work, "node-%d" % node)], check=False)

    # --- faults -----------------------------------------------------------------------------------

    def rule(self, node, hook, *words):
        inside = ("ip", "netns", "exec", "n%d" % node, "nft")
        say(*inside, "add table inet faults")
        say(*inside, "add chain inet faults %s { type filter hook %s priority 0; }" % (hook, hook))
        say(*inside, "add rule inet faults %s %s drop" % (hook, " ".join(words)))

    def drop(self, _, percent):
        for node in range(self.options.nodes):
            self.rule(node, "output", "oifname eth0 numgen random mod 100 < %d" % percent)

    def silence(self, sender, receiver):
        self.rule(sender, "output", "ip daddr", address(receiver))

    def cut(self, node):
        self.rule(node, "output", "oifname eth0")
        self.rule(node, "input", "iifname eth0")

    def part(self, first):
        """Those before `first`, and the others."""
        for node in range(self.options.nodes):
            there = [address(n) for n in range(self.options.nodes) if (n < first) != (node < first)]
            self.rule(node, "output", "ip daddr { %s }" % ", ".join(there))

    def heal(self, *_):
        for node in range(self.options.nodes):
            say("ip", "netns", "exec", "n%d" % node, "nft", "flush ruleset")

    def signal(self, node, number):
        process = self.fleet.nodes[node].process
        worker = child_of(process.pid) if process else None
        if worker:
            os.kill(worker, number)

    def stop(self, node):
        self.signal(node, signal.SIGSTOP)

    def go_on(self, node):
        self.signal(node, signal.SIGCONT)

    def fill(self):
        for node in range(self.options.nodes):
            with open(os.path.join(self.work, "node-%d" % node, "full"), "wb", buffering=0) as file:
                try:
                    while file.write(bytes(1 << 16)):
                        pass
                except OSError:
                    pass

    def empty(self):
        for node in range(self.options.nodes):
            os.remove(os.path.join(self.work, "node-%d" % node, "full"))

    def kill(self, node):
        self.fleet.end(node, "kill")

    def start(self, node):
        self.fleet.start(node)

    # --- the replay ---------------------------------------------------------------------------------

    def replay(self, fleet, plan):
        self.fleet, self.plan = fleet, plan
        for node in range(self.options.nodes):
            fleet.start(node)
        self.wait_for_all(fleet.now(), WHOLE)
        for fault in plan:
            fleet.run_until(fleet.now() + CALM)
            self.perform(fault)
        end = fleet.now()
        fleet.run_until(end + 300.0)
        fleet.finish(30.0)
        return end

    def wait_for_all(self, since, limit):
        """Until a step is finished by a group of all; how long that took, None: too long."""
        fleet = self.fleet
        while fleet.now() < since + limit and not fleet.over and not fleet.facts.dead:
            whole = {epoch for _, epoch, _, size, _ in fleet.facts.formed[-self.options.nodes:]
                     if size == self.options.nodes}
            if fleet.facts.finished and fleet.facts.finished[-1][0] > since and fleet.facts.finished[-1][2] in whole:
                return max(0.0, fleet.facts.finished[-1][0] - since)
            fleet.run_until(fleet.now() + 0.02)
        return None

    def perform(self, fault):
        fleet = self.fleet
        fault.began = fleet.now()
        fleet.facts.faults.append((fault.began, fault.name))
        if fault.on:
            getattr(self, fault.on)(*fault.arguments)
        fleet.run_until(fault.began + fault.seconds)
        if fault.off:
            getattr(self, fault.off)(*(fault.arguments if fault.off in ("go_on", "start") else ()))
        fault.ended = fleet.now()
        fleet.facts.faults.append((fault.ended, "end"))
        fault.whole = self.wait_for_all(fault.ended, WHOLE)

    def report(self, books):
        """Of each fault: the longest time without a finished step, beyond a step; groups made."""
        out = []
        for fault in self.plan:
            until = fault.ended + (WHOLE if fault.whole is None else fault.whole)
            inside = [s for s in books.steps if fault.began - CALM / 3 <= s.t <= until]
            waits = [b.t - a.t - books.step_seconds(b.size) for a, b in zip(inside, inside[1:]) if b.t > fault.began]
            out.append({"fault": fault.name, "seconds": round(fault.ended - fault.began, 2),
                        "steps": sum(1 for s in inside if fault.began < s.t <= fault.ended),
                        "groups": len({s.epoch for s in inside}) - 1 if inside else None,
                        "stall": max(waits) if waits else None, "whole_after": fault.whole})
        return out

    @staticmethod
    def show(report, transports):
        print("data went by " + ", ".join(transports) + ("" if transports == ["gloo"] else
              ": not by gloo alone, so not all faults of networks met them"))
        print("| fault | lasted s | steps meanwhile | new groups | longest stall s | all together again after s |")
        print("|---|---|---|---|---|---|")
        for f in report:
            print("| %s | %.1f | %d | %s | %s | %s |" % (f["fault"], f["seconds"], f["steps"], f["groups"],
                                                       *("-" if f[key] is None else "%.2f" % f[key]
                                                         for key in ("stall", "whole_after"))))
