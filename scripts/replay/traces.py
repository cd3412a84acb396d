"""Capacity over time, and what it means for nodes: which come, which go, and how."""
import random
from dataclasses import dataclass


class BadTrace(Exception):
    """In one line: file, line, value, what to do."""


@dataclass
class Event:
    at: float   # seconds after the start of the replay
    what: str   # start; and what a node ends with: kill, notice, stop
    node: int


def read(path):
    """[(seconds, nodes)] of a file `t_s,nodes`: a row a change, the last row is the end."""
    rows = []
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadTrace("%s: cannot be read: %s" % (path, error)) from error
    for number, line in enumerate(lines, 1):
        if number == 1 and line.strip() == "t_s,nodes" or not line.strip():
            continue
        try:
            at, nodes = line.split(",")
            rows.append((float(at), int(nodes)))
        except ValueError:
            raise BadTrace("%s:%d: '%s' is not `seconds,nodes`" % (path, number, line)) from None
        if rows[-1][1] < 0 or len(rows) > 1 and rows[-1][0] < rows[-2][0]:
            raise BadTrace("%s:%d: '%s': seconds rise from row to row, and nodes are not negative" % (
                path, number, line))
    if len(rows) < 2:
        raise BadTrace("%s: has fewer than two rows: where it begins and where it ends" % path)
    return rows


def cut(rows, begin, end):
    """The part between two times, which begins at 0."""
    end = min(end, rows[-1][0])
    before = [nodes for at, nodes in rows if at <= begin]
    part = [(0.0, before[-1] if before else rows[0][1])]
    part += [(at - begin, nodes) for at, nodes in rows if begin < at < end]
    if end <= begin:
        raise BadTrace("--from %g: the trace ends after %g s" % (begin, end))
    return part + [(end - begin, part[-1][1])]


def shrink(rows, divisor):
    """A fleet of fewer nodes: counts divided, rounded up, so that only 0 stays 0."""
    return [(at, -(-nodes // divisor)) for at, nodes in rows]


class Plan:
    """Events of a trace whose time runs `speed` times as fast. Which nodes go is drawn by lot, as is
    which of those that went come back; a share `silent` of those that go falls silent instead."""

    def __init__(self, rows, speed, seed=1, goes="kill", silent=0.0):
        self.rng, self.events, self.up = random.Random(seed), [], []
        self.nodes = max(nodes for _, nodes in rows)
        self.seconds = (rows[-1][0] - rows[0][0]) / speed
        self.goes, self.silent = goes, silent
        for at, nodes in rows[:-1]:
            self.change((at - rows[0][0]) / speed, nodes)

    def change(self, at, nodes):
        while len(self.up) > nodes:
            node = self.up.pop(self.rng.randrange(len(self.up)))
            what = "stop" if self.rng.random() < self.silent else self.goes
            self.events.append(Event(at, what, node))
        while len(self.up) < nodes:
            free = [n for n in range(self.nodes) if n not in self.up]
            node = free[0] if at == 0 else self.rng.choice(free)
            self.up.append(node)
            self.events.append(Event(at, "start", node))

    @property
    def at_the_end(self):
        return len(self.up)


def failures(nodes, every, seconds, replace=0.0, seed=1, goes="kill"):
    """A fleet of constant size, one of which fails every so often and is replaced after a while."""
    plan = Plan([(0, nodes), (seconds, nodes)], 1, seed, goes)
    at = every
    while every > 0 and at < seconds:
        node = plan.rng.randrange(nodes)
        plan.events += [Event(at, goes, node), Event(at + replace, "start", node)]
        at += every
    plan.events.sort(key=lambda event: event.at)
    return plan
