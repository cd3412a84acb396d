"""The parts of scripts/gpu-check that measure: ours beside PyTorch's in the same run, what the card can do
at most, where the time of a step goes, resumes, checkpoints. Everything is measured by programs that are
also run alone: bench/detector.c, bench/text_encoder.c, bench/torch_*.py, bench/ceilings.c."""
import json
import os
import pty
import re
import select
import statistics
import subprocess
import time

from gpu_run import CACHE, LATE, PEER, RESERVE, ROOT, kill_group, last_line, shell

STEP = re.compile(r"step (\d+)/")
# seconds that parts are guessed to take on an H200, with some to spare; `sanitizer` and `compile` take what is left
SECONDS = {"here": 30, "ops": 70, "nccl": 20, "runs": 90, "parity": 60, "determinism": 30, "training": 60,
           "sanitizer": 30, "profile": 30, "speed": 100, "loader": 60, "starts": 20, "checkpoints": 60, "compile": 0}
TINY_SECONDS = 10  # each of them with --tiny


def needed(check, parts):
    return sum(TINY_SECONDS if check.options.tiny else SECONDS[part] for part in parts)


def end_of(check):
    """When the part in work is stopped: those behind it have what they are guessed to take, unless it has not
    had twice its own."""
    parts = check.options.parts
    behind = parts[parts.index(check.part) + 1:]
    return max(check.end - RESERVE - needed(check, behind), time.monotonic() + 2 * needed(check, [check.part]))


def models(check):
    """{title: (our program, PyTorch's, options of both, options of PyTorch's)}"""
    detector = ["--size", "small", "--input", "416", "--batch", "64", "--steps", "8", "--group", "10"]
    text = ["--layers", "4", "--width", "256", "--length", "64", "--batch", "256", "--steps", "8", "--group", "20"]
    if check.options.tiny:
        detector = ["--size", "nano", "--input", "64", "--batch", "1", "--steps", "2", "--group", "1"]
        text = ["--layers", "1", "--width", "32", "--heads", "2", "--length", "8", "--batch", "4", "--steps", "2",
                "--group", "1"]
    return {"detector": ("bench_detector", "torch_detector.py", detector, ["--layout", "nhwc"]),
            "text encoder": ("bench_text_encoder", "torch_text_encoder.py", text, [])}


def speed(check):
    for title in models(check):
        show(check, title, together(check, title))


# --- torch.compile ---------------------------------------------------------------------------------

# its processes must not take all processors from the tests beside it
KEPT = dict(PEER, TORCHINDUCTOR_CACHE_DIR=CACHE, TRITON_CACHE_DIR=os.path.join(CACHE, "triton"),
            TORCHINDUCTOR_FX_GRAPH_CACHE="1", TORCHINDUCTOR_AUTOGRAD_CACHE="1")


def warm(check):
    """Begins to compile all that `compile` will time, the quick modes first, a process a model."""
    if "compile" not in check.options.parts or len(check.options.parts) < 3 or not check.torch:
        return
    for title, (_, theirs, options, extra) in models(check).items():
        commands = ["nice " + shell(compile_command(check, theirs, options, extra, mode) + [
            "--warm", "2", "--steps", "1", "--group", "1"]) for mode in check.options.modes.split(",")]
        job = check.start(["sh", "-c", "; ".join(commands)], TORCHINDUCTOR_COMPILE_THREADS="6", **KEPT)
        check.jobs.remove(job)  # which part it is of, `settle` says
        check.warming.append(job)


def settle(check):
    """Waits for what compiles in the background, as long as the parts that measure can spare the time."""
    ahead = needed(check, check.options.parts[check.options.parts.index(check.part):])
    while check.warming:
        job = check.warming.pop(0)
        check.jobs.append(job)
        status, output = check.ended(job, max(0, check.left() - ahead))
        done = len(re.findall(r'^\{"seconds"', output, re.M))
        check.tables.append("* torch.compile, in the background: %d of %d modes in %.0f s%s\n" % (
            done, len(check.options.modes.split(",")), job.seconds(), ", stopped" if status == -1 else ""))
        check.record(background=shell(job.command), status=status, modes=done, seconds=job.seconds())


def compile_command(check, theirs, options, extra, mode):
    return torch_command(check, theirs, options, extra) + ["--compile", "--mode", mode]


def compiled(check):
    """torch.compile, the quick modes first; each tells what it gave when it has ended, for a later one may
    use up the time. What was chosen by timing was chosen while other parts used the GPU."""
    if not check.torch:
        return check.result("skipped", "PyTorch, compiled", "no PyTorch")
    found = {title: together(check, title, quick=True) for title in models(check)}
    for mode in check.options.modes.split(","):
        for title, (_, theirs, options, extra) in models(check).items():
            name = "%s, PyTorch, compiled, %s" % (title, mode)
            one = answer(check, name, compile_command(check, theirs, options, extra, mode) + ["--warm", "4"],
                         check.options.limit, "skipped", **KEPT)
            found[title]["PyTorch, compiled, " + mode] = one
            if one:
                tell(check, name, one, found[title])
    for title in found:
        show(check, title, found[title])


def tell(check, name, one, found):
    """One line of a peer, as soon as it has ended."""
    seconds = statistics.median(one["seconds"])
    ours = next((o for n, o in found.items() if n.startswith("ours") and o), None)
    beside = ", ours %.2f times that" % (seconds / statistics.median(ours["seconds"])) if ours else ""
    check.result("passed", name, "%.2f steps/s, first step after %.1f s%s" % (1 / seconds, one["first"], beside))


# --- what all of them use --------------------------------------------------------------------------


def device(check):
    return "cuda" if check.gpu else "cpu"


def attempt(check, name, command, limit, **environment):
    """(the JSON object that a program ends with or None, exit status, why there is none)"""
    begin = time.monotonic()
    status, output = check.run(command, limit, **environment)
    try:
        found = json.loads(output.strip().splitlines()[-1]) if status == 0 else None
    except (ValueError, IndexError):
        found = None
    if found is not None:
        check.record(bench=name, **found)
        return found, status, ""
    why = last_line(output)
    if status == -1 and LATE not in why:
        why = "stopped after %.0f s; its last line: %s" % (time.monotonic() - begin, why)
    return None, status, "status %d: %s" % (status, why)


def answer(check, name, command, limit, late="failed", **environment):
    """The JSON object that a program ends with; None, told, if it fails; `late`: what it then is if it
    was stopped at its limit."""
    found, status, why = attempt(check, name, command, limit, **environment)
    if found is None:
        absent = "No module named" in why or LATE in why
        check.result("skipped" if status == -2 or absent else late if status == -1 else "failed", name, why)
    return found


# --- ceilings and ops ------------------------------------------------------------------------------


def profile(check):
    ceilings(check)
    for title, (program, _, size, _) in models(check).items():
        ops(check, title, program, size)
    keys = ["run.device=cpu"] if check.options.tiny else ["train.batch=32"]  # tests/integration/cuda.sh has the other
    status, output = check.train("profile", *training_keys(check, *keys), "--profile", limit=60)
    found = re.findall(r"^.*whole step.*$", output, re.M)
    check.expect(status == 0 and bool(found), "train --profile", (found or [last_line(output)])[0].strip())


def ceilings(check):
    program = check.program("bench_ceilings")
    if not check.gpu or not program:
        return check.result("skipped", "ceilings", "no GPU" if not check.gpu else "no bench_ceilings")
    check.ceilings = answer(check, "ceilings", [program], 60)
    if check.ceilings:
        check.result("passed", "ceilings", ", ".join("%s %s" % i for i in check.ceilings.items()))


def ops(check, title, name, size):
    """Where a step's time goes, by op and kernel, beside the card's ceilings."""
    program = check.program(name)
    if not program:
        return check.result("skipped", title + ", op by op", "no " + name)
    status, output = check.run([program, "--device", device(check), "--precision", "auto", "--shards", "1",
                                "--ops"] + size, 60)
    found = [json.loads(line) for line in output.splitlines() if line.startswith('{"node"')]
    if status != 0 or not found:
        return check.result("failed", title + ", op by op", "status %d: %s" % (status, last_line(output)))
    most = check.ceilings or {}
    flops, bytes_ = most.get("bf16_tflops", 0) * 1e12, most.get("copy_gbs", 0) * 1e9
    sums, gaps = {}, []
    for op in found:
        roof = 1e3 * max(op["flop"] / flops if flops else 0, op["bytes"] / bytes_ if bytes_ else 0)
        gaps.append((op["ms"] - roof, op["node"], op["op"], op["kernel"], op["ms"], roof))
        row = sums.setdefault((op["op"], op["kernel"]), [0, 0.0, 0.0, 0.0, 0.0])
        for i, value in enumerate((1, op["ms"], op["flop"], op["bytes"], roof)):
            row[i] += value
    lines = ["| op | kernel | times | ms | TFLOP/s | GB/s | of the roofline |", "|---" * 7 + "|"]
    for (name, kernel), (n, ms, flop, moved, roof) in sorted(sums.items(), key=lambda i: -i[1][1])[:25]:
        lines.append("| %s | %s | %d | %.3f | %.1f | %.0f | %s |" % (
            name, kernel, n, ms, flop / ms * 1e-9, moved / ms * 1e-6, "%.0f %%" % (100 * roof / ms) if roof else "-"))
    check.table("One step of the %s, op by op (kernels repeated ten times each; sum %.2f ms):\n\n%s" %
                (title, sum(op["ms"] for op in found), "\n".join(lines)))
    gaps.sort(reverse=True)
    for op in gaps:
        check.record(model=title, op=op[1], kind=op[2], kernel=op[3], ms=op[4], roof_ms=op[5])
    check.result("passed", title + ", op by op", "largest gaps: " + "; ".join(
        "%s (%s) %.3f ms, at best %.3f" % (node, kind, ms, roof) for _, node, kind, _, ms, roof in gaps[:3]))


# --- starts and checkpoints ------------------------------------------------------------------------


def step_times(check, command, limit):
    """Seconds from the start to the first sight of each step, as a terminal shows them; to the end. Status
    -1: stopped at its limit."""
    master, slave = pty.openpty()
    start, seen, text = time.monotonic(), {}, ""
    limit = min(limit, check.left())
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=slave, stderr=slave, cwd=check.work,
                               start_new_session=True, env=dict(check.environment, COLUMNS="200", TERM="xterm"))
    os.close(slave)
    while True:
        rest = start + limit - time.monotonic()
        if rest <= 0 or not select.select([master], [], [], rest)[0]:
            break
        try:
            data = os.read(master, 65536)
        except OSError:  # the other side is closed
            break
        now = time.monotonic() - start
        text = text[-200:] + data.decode(errors="replace")
        for number in STEP.findall(text):
            seen.setdefault(int(number), now)
    try:
        status = process.wait(max(start + limit - time.monotonic(), 0.5))
    except subprocess.TimeoutExpired:
        status = -1
        kill_group(process)
    os.close(master)
    check.log("$ %s\n[status %d, steps seen: %s]\n%s\n" % (shell(command), status, len(seen), text[-400:]))
    return seen, status


def unseen(check, name, seen, status):
    """Too few steps: None."""
    late = status == -1 and check.left() < 2
    check.result("skipped" if late else "failed", name, "%s, %d steps seen" % (
        LATE if late else "status %d" % status, len(seen)))


def training_keys(check, *keys):
    keys = ["data.root=" + os.path.join(check.work, "data-bench"), "train.eval_every=100000", "train.shards=1",
            "run.device=" + device(check)] + list(keys)
    if check.options.tiny:
        keys += ["data.synthetic=6", "model.input=64", "model.stride=8", "train.batch=1"]
    return keys


def training(check, folder, steps, *keys):
    return check.train_command(folder, *training_keys(check, *keys), steps=steps)


def starts(check):
    """exec to the first finished step of a resume."""
    firsts = []
    for i in range(2 if check.options.tiny else 4):
        seen, status = step_times(check, training(check, "starts", (1 if check.options.tiny else 3) * (i + 1)), 60)
        if status != 0 or not seen:
            return unseen(check, "start", seen, status)
        if i > 0:
            firsts.append(seen[min(seen)])
    check.record(bench="resume", seconds=firsts)
    verdict = check.expect if not check.options.tiny else lambda good, name, why: check.result("passed", name, why)
    verdict(min(firsts) <= 1.5, "exec to the first step of a resume", "best %.2f s, median %.2f s of %d; aim 1.5 s" % (
        min(firsts), statistics.median(firsts), len(firsts)))


def checkpoints(check):
    """A checkpoint after every step, and none: seconds a step of runs in turn. Offered: a newer one
    replaces one that waits for the disk. Kept up with: every_steps = 1, of which two at most are lost,
    so that a step shorter than a write waits for it."""
    steps, rounds = (5, 1) if check.options.tiny else (300, 3)
    each = {"without": [], "offered": [], "kept up with": []}
    keys = {"without": "checkpoint.every_steps=1000000", "offered": "checkpoint.every_seconds=0.0001",
            "kept up with": "checkpoint.every_steps=1"}
    for i in range(rounds):
        for name, key in keys.items():
            seen, status = step_times(check, training(check, "save-%s-%d" % (name[:4], i), steps, key), 60)
            inner = sorted(seen)[1:]
            if status != 0 or len(inner) < 2:
                return unseen(check, "checkpoints", seen, status)
            each[name].append((seen[inner[-1]] - seen[inner[0]]) / (inner[-1] - inner[0]))
    median = {name: statistics.median(seconds) for name, seconds in each.items()}
    check.record(bench="checkpoint every step", **each)
    check.result("passed", "a checkpoint every step costs", "%.2f %% of a step of %.2f ms where offered, %.0f %% where "
                 "kept up with (rounds: %s); aim 0.5 %%" % (
                     100 * (median["offered"] / median["without"] - 1), 1e3 * median["without"],
                     100 * (median["kept up with"] / median["without"] - 1),
                     ", ".join("%.2f" % (1e3 * s) for k in each for s in each[k])))


# --- beside PyTorch --------------------------------------------------------------------------------


def torch_command(check, theirs, size, extra):
    return [check.options.python, os.path.join(ROOT, "bench", theirs), "--device", device(check)] + size + extra + (
        ["--amp"] if check.gpu else [])


def together(check, title, quick=False):
    """Seconds a step, batch in memory: ours, `quick`: in bf16 alone, and PyTorch's as it comes. Measured
    once in a check."""
    if title in check.measured:
        return check.measured[title]
    ours, theirs, size, extra = models(check)[title]
    found = check.measured[title] = {}
    program = check.program(ours)
    if program:
        kinds = [("bf16", []), ("bf16", ["--shards", "8"]), ("tf32", [])] if check.gpu else [("auto", [])]
        if check.options.tune and check.gpu:
            kinds.append(("bf16", ["--tune"]))
        if check.options.tiny:  # a batch of 2
            kinds = kinds[:1]
        for precision, more in kinds[:1] if quick else kinds:
            name = ", ".join(["ours", precision] + [" ".join(more).strip("-")] * bool(more))
            found[name] = answer(check, "%s, %s" % (title, name), [
                program, "--device", device(check), "--precision", precision, "--shards", "1"] + more + size, 60)
    else:
        check.result("skipped", title + ", ours", "no " + ours)
    if check.torch:
        found["PyTorch, eager"] = answer(check, title + ", PyTorch, eager",  # cuDNN tries ten kernels a convolution
                                         torch_command(check, theirs, size, extra), 120, **PEER)
    else:
        check.result("skipped", title + ", PyTorch", "no PyTorch")
    return found


def show(check, title, found, aim=1.3):
    found = {name: one for name, one in found.items() if one}
    medians = {name: statistics.median(one["seconds"]) for name, one in found.items()}
    peers = [name for name in medians if name.startswith("PyTorch")]
    best = min(peers, key=medians.get) if peers else None
    lines = ["| %s | steps/s | range | MiB of the device | peak MiB of tensors | beside the best PyTorch |" % title,
             "|---" * 6 + "|"]
    for name, seconds in medians.items():
        one = found[name]
        lines.append("| %s | %.2f | %.2f - %.2f | %.0f | %s | %s |" % (
            name, 1 / seconds, 1 / max(one["seconds"]), 1 / min(one["seconds"]), one.get("device_mib", 0),
            "%.0f" % one["peak_mib"] if name in peers else "-", "%.2f x" % (medians[best] / seconds) if best else "-"))
    check.table("\n".join(lines))
    first = next((name for name in medians if name.startswith("ours")), None)
    if best and first:
        check.result("passed", title, "%.2f times the steps/s of %s (aim %.1f), %.2f of its memory (aim 0.7)" % (
            medians[best] / medians[first], best, aim, ratio(found[first], found[best])))


def ratio(ours, theirs):
    """Of the device's memory in use, contexts included on both sides."""
    if theirs.get("device_mib"):
        return ours.get("device_mib", 0) / theirs["device_mib"]
    return ours["peak_mib"] / theirs["peak_mib"]


# --- the real data loader --------------------------------------------------------------------------


def loader(check):
    """Training on pictures from files, the same files on both sides. Ours decodes, makes mosaics, moves,
    scales and colours, and keeps what it has decoded in data.cache_mb; or decodes each anew. PyTorch's
    workers decode each anew, resize, flip and colour."""
    _, theirs, size, extra = models(check)["detector"]
    value = dict(zip(size[::2], size[1::2]))
    folder = os.path.join(check.work, "data-loader")
    keys = ["data.root=" + folder, "data.synthetic=%d" % (20 if check.options.tiny else 640), "data.synthetic_side=0",
            "data.mosaic=0.5", "train.epochs=100", "model.size=" + value["--size"], "model.input=" + value["--input"],
            "model.stride=8", "train.batch=" + value["--batch"]]
    steps = 4 if check.options.tiny else 160
    found = {"ours, pictures kept": loader_steps(check, "loader", steps, keys),
             "ours, decoded anew": loader_steps(check, "loader-anew", steps, keys + ["data.cache_mb=0"])}
    found["PyTorch, eager"] = loader_peer(check, theirs, size, extra, folder)
    found = {name: one for name, one in found.items() if one}
    medians = {name: statistics.median(one["seconds"]) for name, one in found.items()}
    peer = medians.get("PyTorch, eager")
    check.table("| from files | steps/s | pictures/s | beside PyTorch |\n|---|---|---|---|\n" + "\n".join(
        "| %s | %.2f | %.0f | %s |" % (name, 1 / s, int(value["--batch"]) / s, "%.2f x" % (peer / s) if peer else "-")
        for name, s in medians.items()))
    for name, seconds in medians.items():
        if peer and name.startswith("ours"):
            check.result("passed", "with the real data loader, " + name, "%.2f steps/s, PyTorch eager (%s, %d workers) "
                         "%.2f: %.2f times (aim 2)" % (1 / seconds, found["PyTorch, eager"]["decoder"],
                                                       found["PyTorch, eager"]["workers"], 1 / peer, peer / seconds))


def loader_peer(check, theirs, size, extra, folder):
    """Its workers hand batches over in /dev/shm, two ahead each: with fewer of them where that was too small."""
    if not check.torch:
        return check.result("skipped", "loader, PyTorch", "no PyTorch") or None
    most, whys = min(os.cpu_count(), 16), []
    for workers in [most] + [4] * (most > 4):
        found, status, why = attempt(check, "loader, PyTorch, %d workers" % workers, torch_command(
            check, theirs, size[:6] + ["--steps", "8", "--group", "4", "--warm", "6"], extra) + [
                "--loader", os.path.join(folder, "images"), "--workers", str(workers)], 90, **PEER)
        if found:
            return found
        whys.append("%d workers: %s" % (workers, why))
    absent = "No module named" in why or LATE in why
    return check.result("skipped" if absent else "failed", "loader, PyTorch", "; ".join(whys)) or None


def loader_steps(check, name, steps, keys):
    """Seconds a step of ours once the first quarter is over, as a terminal shows them."""
    seen, status = step_times(check, training(check, name, steps, *keys), 90)
    inner = sorted(seen)[len(seen) // 4:]
    if status != 0 or len(inner) < 2:
        return unseen(check, name + ", ours", seen, status)
    seconds = (seen[inner[-1]] - seen[inner[0]]) / (inner[-1] - inner[0])
    check.record(bench=name + ", ours", seconds=[seconds])
    return {"seconds": [seconds]}
