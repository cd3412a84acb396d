"""What a replay was worth, from the facts.

    S(W)     seconds of a step of W workers that nothing disturbs: the pace of the largest share, and
             what steps took beyond it where nobody came or went
    ideal    steps that the paid nodes would have made undisturbed: the integral of dt / S(W(t))
    goodput  finished steps / ideal
    stall    of a change: from it, or the last finished step if that is later, to the next finished
             step, less S of those who made it: the redone step is no part of it

The trace's own time line is longer than the replay, but what changes cost is not: on it the same
number of steps is lost of more."""
from collections import namedtuple

Step = namedtuple("Step", "t number epoch size")
Change = namedtuple("Change", "t kind stall discarded size")
UNUSABLE = 69  # a worker that found no place among the others, or no device, lock or store
ENOUGH = 5  # steps of one size whose mean is worth more than that of all


def percentile(values, share):
    """Nearest rank; None of none."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * share // 100) - 1)] if ordered else None


def spread(values):
    return {"n": len(values), "p50": percentile(values, 50), "p99": percentile(values, 99),
            "max": max(values) if values else None}


def largest_share(shards, workers):
    return -(-shards // workers)


class Account:
    """`facts` as in fleet.py, of a replay that lasted from 0 to `end`; `speed` 1: not compressed."""

    def __init__(self, facts, shards, pace, end, speed=1.0):
        self.facts, self.shards, self.pace, self.end, self.speed = facts, shards, pace, end, speed
        self.size = {epoch: size for _, epoch, _, size, _ in facts.formed}
        self.steps = [s for s in self.first_reports() if s.t <= end]
        self.pieces = self.capacity()
        self.changes = []
        self.beyond = self.steps_beyond_pace()
        self.find_changes()

    def first_reports(self):
        """Each step of each epoch, when the first of its workers was done with it."""
        seen, steps = set(), []
        for t, number, epoch, _ in sorted(self.facts.finished):
            if (epoch, number) not in seen:
                seen.add((epoch, number))
                steps.append(Step(t, number, epoch, self.size.get(epoch, 1)))
        return steps

    # --- a step that nothing disturbs -------------------------------------------------------------

    def at_pace(self, size):
        return self.pace * largest_share(self.shards, size)

    def steps_beyond_pace(self):
        """size -> seconds of each undisturbed step beyond its pace; -1: all."""
        events = sorted([t for t, *_ in self.facts.starts + self.facts.ends] + [t for t, _ in self.facts.faults])
        beyond, i = {-1: []}, 0
        for a, b in zip(self.steps, self.steps[1:]):
            while i < len(events) and events[i] < a.t:
                i += 1
            disturbed = i < len(events) and events[i] <= b.t
            if a.epoch == b.epoch and b.number == a.number + 1 and not disturbed:
                for size in (a.size, -1):
                    beyond.setdefault(size, []).append(b.t - a.t - self.at_pace(a.size))
        return beyond

    def step_seconds(self, size):
        of = self.beyond.get(size, [])
        of = of if len(of) >= ENOUGH else self.beyond[-1]
        return self.at_pace(size) + (sum(of) / len(of) if of else 0.0)

    # --- capacity -----------------------------------------------------------------------------------

    def capacity(self):
        """[(from, to, nodes)] between 0 and the end."""
        marks = sorted({0.0, self.end, *(min(t, self.end) for pair in self.facts.paid for t in pair)})
        return [(a, b, sum(1 for since, to in self.facts.paid if since <= a and to >= b))
                for a, b in zip(marks, marks[1:])]

    def last_empty(self, begin, end):
        """When the last time without any node, of those between these two, was over."""
        return max((b for a, b, nodes in self.pieces if nodes == 0 and a < end and begin < b < end), default=None)

    def ideal(self, seconds_of):
        return sum((b - a) / seconds_of(nodes) for a, b, nodes in self.pieces if nodes > 0)

    def progress(self):
        return max((s.number for s in self.steps), default=0)

    # --- changes ------------------------------------------------------------------------------------

    def member_at(self, node, t):
        """Whether it was in the group that made the last step before t, or in a later one."""
        latest = max((s.epoch for s in self.steps if s.t <= t), default=0)
        own = [epoch for at, epoch, who, _, _ in self.facts.formed if who == node and at <= t]
        since = max((at for at, who in self.facts.starts if who == node and at <= t), default=0.0)
        return any(at >= since and who == node and at <= t and epoch == max(own) >= latest > 0
                   for at, epoch, who, _, _ in self.facts.formed)

    def causes(self):
        """Index of the first step of a later group -> (t, kind) of the first loss that led to it."""
        found = {}
        for t, node, how in sorted(self.facts.ends):
            if how == "notice" or not self.member_at(node, t):
                continue
            before = [i for i, s in enumerate(self.steps) if s.t <= t]
            epoch = self.steps[before[-1]].epoch if before else 0
            after = next((i for i, s in enumerate(self.steps) if s.t > t and s.epoch > epoch), None)
            if after is not None:
                kind = "silence" if how == "stop" else "death"
                found[after] = min(found.get(after, (t, kind)), (t, kind))
        return found

    def find_changes(self):
        causes = self.causes()
        for i in range(1, len(self.steps)):
            a, b = self.steps[i - 1], self.steps[i]
            if a.epoch == b.epoch:
                continue
            t, kind = causes.get(i, (a.t, "orderly"))
            discarded = max(0.0, t - a.t) if kind != "orderly" else 0.0
            began = max(t, a.t)
            empty = self.last_empty(t, b.t)
            if empty is not None:
                began, kind = empty, "empty"
            self.changes.append(Change(t, kind, b.t - began - self.step_seconds(b.size), discarded, b.size))

    def stalls(self, *kinds):
        return [c.stall for c in self.changes if c.kind in kinds]

    def lost_steps(self):
        """Finished by a group, and made again as nobody had them any more."""
        done, lost, seen = 0, 0, set()
        facts = sorted([(t, 1, number, 0) for t, number, _, _ in self.facts.finished if t <= self.end] +
                       [(t, 0, after, epoch) for t, epoch, _, _, after in self.facts.formed if t <= self.end])
        for _, is_step, number, epoch in facts:
            if is_step:
                done = max(done, number)
            elif epoch not in seen:
                seen.add(epoch)
                lost += max(0, done - number)
                done = number
        return lost

    def joins(self):
        """Seconds from the start of a node to the end of the first step that it took part in."""
        ends = sorted(self.facts.starts)
        out = []
        for t, node in ends:
            until = min([at for at, who in ends if who == node and at > t] or [float("inf")])
            out += [at - t for at, _, _, who in sorted(self.facts.finished)
                    if who == node and t < at < min(until, self.end)][:1]
        return out

    # --- all of it ----------------------------------------------------------------------------------

    def figures(self):
        ideal, done = self.ideal(self.step_seconds), self.progress()
        share = done / ideal if ideal > 0 else 0.0
        at_pace = self.ideal(self.at_pace)
        losses = self.stalls("death", "silence")
        return {
            "seconds": round(self.end, 1), "steps": done, "ideal_steps": round(ideal, 1),
            "worker_seconds": round(sum((b - a) * n for a, b, n in self.pieces), 1),
            "goodput": share, "goodput_true_time": 1.0 - (1.0 - share) / self.speed,
            "share_of_pace": done / at_pace if at_pace > 0 else 0.0,
            "changes": len(self.changes), "stalls": spread([c.stall for c in self.changes if c.kind != "empty"]),
            "stalls_death": spread(self.stalls("death")), "stalls_silence": spread(self.stalls("silence")),
            "stalls_orderly": spread(self.stalls("orderly")), "stalls_empty": spread(self.stalls("empty")),
            "losses_of_members": len(losses), "joins": spread(self.joins()),
            "discarded_seconds": round(sum(c.discarded for c in self.changes), 2),
            "lost_steps": self.lost_steps(),
            "failed": [{"t": round(t, 2), "node": n, "status": s, "said": line} for t, n, s, line in self.facts.failed],
            "unusable": sum(1 for *_, status, _ in self.facts.failed if status == UNUSABLE),
            "dead_jobs": len(self.facts.dead), "hangs": len(self.facts.hangs),
        }
