"""Nodes as processes: started, made to vanish, and heard line by line."""
import os
import queue
import re
import selectors
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from dataclasses import dataclass, field

import jobs

STEP = re.compile(rb"train: step (\d+) in epoch (\d+) of the group: positions (\d+)\+(\d+)$")
FORMED = re.compile(rb"train: epoch (\d+) of the group: worker (\d+) of (\d+), after step (-?\d+)$")
GO_BY = re.compile(rb"train: group: data go by (\w+)$")
HASH = re.compile(rb"state sha256: ([0-9a-f]{64})$")
DONE, INTERRUPTED = 0, 75
NEVER_AGAIN = (64, 65, 66, 70, 78)
AGAIN = 1.0  # seconds until a node's supervisor starts it again
HAND_OVER = 30.0


@dataclass
class Facts:
    """What happened, in seconds of the fleet's clock."""
    starts: list = field(default_factory=list)    # (t, node)
    ends: list = field(default_factory=list)      # (t, node, how): kill, notice, stop
    paid: list = field(default_factory=list)      # (from, to): a node was there
    finished: list = field(default_factory=list)  # (t, step, epoch, node)
    formed: list = field(default_factory=list)    # (t, epoch, node, size, after step)
    faults: list = field(default_factory=list)    # (t, name): what befell those that are there
    transports: set = field(default_factory=set)  # by which the data of groups of several went
    hashes: set = field(default_factory=set)
    failed: list = field(default_factory=list)    # (t, node, status, last line): ended by itself
    dead: list = field(default_factory=list)      # t: no node of those that should be there was left
    hangs: list = field(default_factory=list)     # (t, last lines)
    resumed: list = field(default_factory=list)   # (t, node, line)


class Ears(threading.Thread):
    """Hears all pipes, so that what is said has its time whatever the fleet is doing."""

    def __init__(self):
        super().__init__(daemon=True)
        self.selector, self.heard = selectors.DefaultSelector(), queue.SimpleQueue()

    def listen(self, pipe, whose):
        os.set_blocking(pipe.fileno(), False)
        self.selector.register(pipe, selectors.EVENT_READ, whose)

    def run(self):
        while True:
            for key, _ in self.selector.select(0.05):
                data = os.read(key.fileobj.fileno(), 1 << 20)
                self.heard.put((time.monotonic(), key.data, data))
                if not data:
                    self.selector.unregister(key.fileobj)
                    key.fileobj.close()


class Node:
    """One process. `wanted`: it is to be there."""

    def __init__(self, number):
        self.number, self.process, self.wanted, self.stopped = number, None, False, False
        self.since, self.last, self.kill_at, self.start_at, self.lives = 0.0, deque(maxlen=30), 0.0, 0.0, 0

    @property
    def running(self):
        return self.process is not None and not self.stopped


class Fleet:
    """`wrap(number)`: words before the command of a node, None for none."""

    def __init__(self, job, options, wrap=None):
        self.job, self.options, self.wrap, self.pace = job, options, wrap, options.pace
        self.log = open(options.log, "w", encoding="utf-8") if options.log else None
        self.nodes, self.facts = {}, Facts()
        self.ears, self.text, self.dying = Ears(), {}, []
        self.ears.start()
        self.begun, self.over, self.last_step = time.monotonic(), False, 0.0
        os.makedirs(os.path.join(job.work, "group"), exist_ok=True)

    def now(self):
        return time.monotonic() - self.begun

    # --- acts -----------------------------------------------------------------------------------

    def folder(self, number):
        name = {"shared": "shared", "keep": "node-%d" % number}.get(self.options.disk)
        return os.path.join(self.job.work, name or "node-%d-%d" % (number, self.nodes[number].lives))

    def command(self, number):
        o = self.options
        keys = ["distributed.store=" + (o.store or "file://" + os.path.join(self.job.work, "group")),
                "distributed.interface=" + ("127.0.0.1" if not self.wrap else "eth0"),
                "distributed.pace=%g" % self.pace, "distributed.wait=600", *o.keys]
        if o.disk == "empty":
            keys.append("checkpoint.store=" + os.path.join(self.job.work, "bucket"))
        return (self.wrap(number) if self.wrap else []) + self.job.command(self.folder(number), *keys)

    def start(self, number):
        node = self.nodes.setdefault(number, Node(number))
        node.wanted = True
        if node.process:
            if node.kill_at == 0.0:
                return
            self.kill(node)  # what is left of the machine that it takes the place of
        self.launch(node)

    def launch(self, node):
        node.lives += 1
        node.process = jobs.start(self.command(node.number), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        node.stopped, node.kill_at, node.start_at, node.since = False, 0.0, 0.0, self.now()
        self.facts.starts.append((node.since, node.number))
        for pipe in (node.process.stdout, node.process.stderr):
            self.ears.listen(pipe, (node, pipe))

    def end(self, number, how, notice=None):
        """kill: at once; notice: asked to leave, killed when the time is up; stop: silent from now."""
        node = self.nodes[number]
        node.wanted, node.start_at = False, 0.0
        if not node.process:
            return
        self.facts.ends.append((self.now(), number, how))
        if how == "kill":
            self.kill(node)
        elif how == "notice":
            node.process.send_signal(signal.SIGTERM)
            node.kill_at = self.now() + (self.options.notice if notice is None else notice)
        else:
            node.process.send_signal(signal.SIGSTOP)
            node.stopped, node.kill_at = True, self.now() + self.options.silent_seconds
            self.facts.paid.append((node.since, self.now()))

    def kill(self, node):
        """Not waited for: that may take a while, and the others go on meanwhile."""
        node.process.kill()
        self.dying.append((node.process, self.folder(node.number)))
        self.count(node)

    def count(self, node):
        """Its process is no more: what it cost."""
        if not node.stopped:
            self.facts.paid.append((node.since, self.now()))
        node.process, node.stopped, node.kill_at = None, False, 0.0

    def bury_dying(self):
        dead = [(process, folder) for process, folder in self.dying if process.poll() is not None]
        self.dying = [pair for pair in self.dying if pair not in dead]
        if self.options.disk == "empty":
            for _, folder in dead:
                threading.Thread(target=shutil.rmtree, args=(folder, True), daemon=True).start()

    # --- ears -----------------------------------------------------------------------------------

    def hear(self, wait):
        """What was said, once anything was."""
        heard = []
        try:
            heard.append(self.ears.heard.get(timeout=wait))
            while True:
                heard.append(self.ears.heard.get_nowait())
        except queue.Empty:
            pass
        for at, (node, pipe), data in heard:
            *lines, self.text[pipe] = (self.text.get(pipe, b"") + data).split(b"\n")
            for line in lines:
                self.take(at - self.begun, node, line)
            if not data:
                del self.text[pipe]

    def take(self, now, node, line):
        node.last.append(line.decode("utf-8", "replace"))
        if self.log:
            self.log.write("%.3f node %d: %s\n" % (now, node.number, node.last[-1]))
        step, formed, go_by, sha = (kind.match(line) for kind in (STEP, FORMED, GO_BY, HASH))
        if step:
            self.facts.finished.append((now, int(step.group(1)), int(step.group(2)), node.number))
            self.last_step = now
        elif formed:
            epoch, _, size, after = (int(part) for part in formed.groups())
            self.facts.formed.append((now, epoch, node.number, size, after))
        elif go_by:
            self.facts.transports |= {go_by.group(1).decode()} - {"nothing"}
        elif sha:
            self.facts.hashes.add(sha.group(1).decode())
        elif line.startswith(b"resumed: "):
            self.facts.resumed.append((now, node.number, line.decode("utf-8", "replace")))
        elif line.startswith(b"done: "):
            self.over = True

    def reap(self):
        self.bury_dying()
        for node in self.nodes.values():
            if not node.process or node.process.poll() is None:
                continue
            left, status = node.kill_at > 0.0, node.process.returncode
            self.count(node)
            if status == DONE:
                self.over, node.wanted = True, False
            elif not left or status not in (INTERRUPTED, -signal.SIGTERM):
                self.note_failure(node, status)

    def note_failure(self, node, status):
        """A node's supervisor starts it again, unless that can only bring the same."""
        now = self.now()
        self.facts.failed.append((now, node.number, status, node.last[-1] if node.last else ""))
        if not node.wanted:
            return
        if status in NEVER_AGAIN:
            node.wanted = False
            if not any(n.process or n.start_at for n in self.nodes.values()):
                self.facts.dead.append(now)
        else:
            node.start_at = now + AGAIN

    # --- time -----------------------------------------------------------------------------------

    def turn(self, until):
        """Do what is due; wait for what is said, no longer than until then."""
        due = [until] + [at for n in self.nodes.values() for at in (n.kill_at, n.start_at) if at > 0.0]
        self.hear(max(0.001, min(min(due) - self.now(), 0.05)))
        self.reap()
        for node in list(self.nodes.values()):
            if node.process and 0.0 < node.kill_at <= self.now():
                self.kill(node)
            elif not node.process and node.wanted and 0.0 < node.start_at <= self.now() and not self.over:
                self.launch(node)
        self.watch()

    def watch(self):
        """A hang: nodes are there, and no step is finished for long."""
        there = [n for n in self.nodes.values() if n.running and n.wanted]
        if not there or self.over:
            self.last_step = self.now()
        if self.now() - self.last_step < self.options.hang:
            return
        self.facts.hangs.append((self.now(), ["node %d: %s" % (n.number, line) for n in there
                                              for line in list(n.last)[-4:]]))
        for node in there:
            self.kill(node)
            node.start_at = self.now() + AGAIN
        self.last_step = self.now()

    def run_until(self, at):
        while self.now() < at and not self.over and not self.facts.dead:
            self.turn(at)

    def hand_over(self, numbers):
        """To new nodes, which keep no pace; those that are there leave."""
        old = [n for n in self.nodes.values() if n.process]
        self.pace = 0.0
        for number in numbers:
            self.start(number)
        if any(n.running for n in old):
            end = self.now() + HAND_OVER
            while not {n for _, _, n, *_ in self.facts.formed} >= set(numbers) and not self.over and self.now() < end:
                self.turn(end)
        for node in old:
            if node.process and not self.over:
                self.end(node.number, "notice", HAND_OVER)

    def finish(self, limit):
        """Until all have ended by themselves, the run being over."""
        end = self.now() + limit
        while any(n.running for n in self.nodes.values()) and self.now() < end and not self.facts.dead:
            self.turn(end)
        left = [n for n in self.nodes.values() if n.running]
        if left and not self.facts.dead:
            self.facts.hangs.append((self.now(), ["node %d did not end: %s" % (n.number, n.last[-1] if n.last else "")
                                                  for n in left]))

    def close(self):
        for node in self.nodes.values():
            if node.process:
                self.kill(node)
        for process, _ in self.dying:
            process.wait()
        self.hear(0.2)
        if self.log:
            self.log.close()
