"""Nodes as processes: started, made to vanish, and heard line by line."""
import os
import re
import selectors
import shutil
import signal
import subprocess
import time
from collections import deque
from dataclasses import dataclass, field

import jobs

STEP = re.compile(rb"train: step (\d+) in epoch (\d+) of the group: positions (\d+)\+(\d+)$")
FORMED = re.compile(rb"train: epoch (\d+) of the group: worker (\d+) of (\d+), after step (-?\d+)$")
HASH = re.compile(rb"state sha256: ([0-9a-f]{64})$")
DONE, UNUSABLE, INTERRUPTED = 0, 69, 75
NEVER_AGAIN = (64, 65, 66, 70, 78)
AGAIN = 1.0  # seconds until a node's supervisor starts it again


@dataclass
class Facts:
    """What happened, in seconds of the fleet's clock."""
    starts: list = field(default_factory=list)    # (t, node)
    ends: list = field(default_factory=list)      # (t, node, how): kill, notice, stop
    paid: list = field(default_factory=list)      # (from, to): a node was there
    finished: list = field(default_factory=list)  # (t, step, epoch, node)
    formed: list = field(default_factory=list)    # (t, epoch, node, size, after step)
    faults: list = field(default_factory=list)    # (t, name): what befell those that are there
    hashes: set = field(default_factory=set)
    failed: list = field(default_factory=list)    # (t, node, status, last line): ended by itself
    dead: list = field(default_factory=list)      # t: no node of those that should be there was left
    hangs: list = field(default_factory=list)     # (t, last lines)
    resumed: list = field(default_factory=list)   # (t, node, line)


class Node:
    """One process. `wanted`: it is to be there."""

    def __init__(self, number):
        self.number, self.process, self.wanted, self.stopped = number, None, False, False
        self.since, self.text, self.last, self.kill_at, self.start_at = 0.0, {}, deque(maxlen=30), 0.0, 0.0

    @property
    def running(self):
        return self.process is not None and not self.stopped


class Fleet:
    """`wrap(number)`: words before the command of a node, None for none."""

    def __init__(self, job, options, wrap=None):
        self.job, self.options, self.wrap = job, options, wrap
        self.log = open(options.log, "w", encoding="utf-8") if options.log else None
        self.nodes, self.facts = {}, Facts()
        self.selector = selectors.DefaultSelector()
        self.begun, self.over, self.last_step = time.monotonic(), False, 0.0
        os.makedirs(os.path.join(job.work, "group"), exist_ok=True)

    def now(self):
        return time.monotonic() - self.begun

    # --- acts -----------------------------------------------------------------------------------

    def folder(self, number):
        return os.path.join(self.job.work, "shared" if self.options.disk == "shared" else "node-%d" % number)

    def command(self, number):
        o = self.options
        keys = ["distributed.store=" + (o.store or "file://" + os.path.join(self.job.work, "group")),
                "distributed.interface=" + ("127.0.0.1" if not self.wrap else "eth0"),
                "distributed.pace=%g" % o.pace, "distributed.wait=600", *o.keys]
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
        if self.options.disk == "empty":
            shutil.rmtree(self.folder(number), ignore_errors=True)
        self.launch(node)

    def launch(self, node):
        node.process = jobs.start(self.command(node.number), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        node.stopped, node.kill_at, node.start_at, node.since = False, 0.0, 0.0, self.now()
        self.facts.starts.append((node.since, node.number))
        for name in ("stdout", "stderr"):
            pipe = getattr(node.process, name)
            node.text[name] = b""
            os.set_blocking(pipe.fileno(), False)
            self.selector.register(pipe, selectors.EVENT_READ, (node, name))

    def end(self, number, how):
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
            node.kill_at = self.now() + self.options.notice
        else:
            node.process.send_signal(signal.SIGSTOP)
            node.stopped, node.kill_at = True, self.now() + self.options.silent_seconds
            self.facts.paid.append((node.since, self.now()))

    def kill(self, node):
        node.process.kill()
        self.bury(node)

    def bury(self, node):
        """The process has ended or is about to: hear the rest, and note what it cost."""
        status = node.process.wait()
        for name in ("stdout", "stderr"):
            pipe = getattr(node.process, name)
            if not pipe.closed:
                self.hear(node, name, pipe)
            if not pipe.closed:
                self.selector.unregister(pipe)
                pipe.close()
        if not node.stopped:
            self.facts.paid.append((node.since, self.now()))
        node.process, node.stopped, node.kill_at = None, False, 0.0
        return status

    # --- ears -----------------------------------------------------------------------------------

    def hear(self, node, name, pipe):
        try:
            data = os.read(pipe.fileno(), 1 << 20)
        except BlockingIOError:
            return
        if not data:
            self.selector.unregister(pipe)
            pipe.close()
            return
        now = self.now()
        *lines, node.text[name] = (node.text[name] + data).split(b"\n")
        for line in lines:
            self.take(now, node, line)

    def take(self, now, node, line):
        node.last.append(line.decode("utf-8", "replace"))
        if self.log:
            self.log.write("%.3f node %d: %s\n" % (now, node.number, node.last[-1]))
        step, formed, sha = STEP.match(line), FORMED.match(line), HASH.match(line)
        if step:
            self.facts.finished.append((now, int(step.group(1)), int(step.group(2)), node.number))
            self.last_step = now
        elif formed:
            epoch, _, size, after = (int(part) for part in formed.groups())
            self.facts.formed.append((now, epoch, node.number, size, after))
        elif sha:
            self.facts.hashes.add(sha.group(1).decode())
        elif line.startswith(b"resumed: "):
            self.facts.resumed.append((now, node.number, line.decode("utf-8", "replace")))
        elif line.startswith(b"done: "):
            self.over = True

    def reap(self):
        for node in self.nodes.values():
            if not node.process or node.process.poll() is None:
                continue
            left = node.kill_at > 0.0
            status = self.bury(node)
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
        wait = max(0.0, min(min(due) - self.now(), 0.05))
        for key, _ in self.selector.select(wait):
            self.hear(*key.data, key.fileobj)
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
                node.process.kill()
        for node in self.nodes.values():
            if node.process:
                self.bury(node)
        if self.log:
            self.log.close()
