"""The parts `bench`, `loader` and `compile` of scripts/gpu-check: ours beside PyTorch's in the same run,
what the card can do at most, where the time of a step goes, resumes, checkpoints. Everything is measured
by programs that are also run alone: bench/detector.c, bench/text_encoder.c, bench/torch_*.py,
bench/ceilings.c."""
import json
import os
import pty
import re
import statistics
import subprocess
import time

STEP = re.compile(r"step (\d+)/")


def models(check):
    """{title: (our program, PyTorch's, options of both, options of PyTorch's)}"""
    detector = ["--size", "small", "--input", "416", "--batch", "64", "--steps", "8", "--group", "10"]
    text = ["--layers", "4", "--width", "256", "--length", "64", "--batch", "256", "--steps", "8", "--group", "20"]
    if check.options.tiny:
        detector = ["--size", "nano", "--input", "64", "--batch", "2", "--steps", "2", "--group", "1"]
        text = ["--layers", "1", "--width", "32", "--heads", "2", "--length", "8", "--batch", "4", "--steps", "2",
                "--group", "1"]
    return {"detector": ("bench_detector", "torch_detector.py", detector, ["--layout", "nhwc"]),
            "text encoder": ("bench_text_encoder", "torch_text_encoder.py", text, [])}


def run(check):
    ceilings(check)
    ops(check, models(check)["detector"][2])
    starts(check)
    checkpoints(check)
    for title in models(check):
        show(check, title, together(check, title))


def compiled(check):
    """torch.compile, the quick modes first; each tells what it gave when it has ended, for a later one may
    use up the time. What was compiled is kept in OUT/inductor, where a second run finds it again."""
    if not getattr(check, "torch", False):
        return check.result("skipped", "PyTorch, compiled", "no PyTorch")
    found = {title: together(check, title, quick=True) for title in models(check)}
    cache = os.path.join(check.out, "inductor")
    kept = {"TORCHINDUCTOR_CACHE_DIR": cache, "TRITON_CACHE_DIR": os.path.join(cache, "triton"),
            "TORCHINDUCTOR_FX_GRAPH_CACHE": "1", "TORCHINDUCTOR_AUTOGRAD_CACHE": "1"}
    for mode in check.options.modes.split(","):
        for title, (_, theirs, options, extra) in models(check).items():
            name = "%s, PyTorch, compiled, %s" % (title, mode)
            one = answer(check, name, torch_command(check, theirs, options, extra) +
                         ["--compile", "--mode", mode, "--warm", "4"], check.options.limit, "skipped", **kept)
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


def device(check):
    return "cuda" if check.gpu else "cpu"


def answer(check, name, command, limit, late="failed", **environment):
    """The JSON object that a program ends with; None, told, if it fails; `late`: what it then is if it
    was stopped at its limit."""
    begin = time.monotonic()
    status, output = check.run(command, limit, **environment)
    try:
        found = json.loads(output.strip().splitlines()[-1]) if status == 0 else None
    except (ValueError, IndexError):
        found = None
    if found is None:
        lines = [line for line in output.strip().splitlines() if line.strip()]
        why = lines[-1][:200] if lines else "no output"
        if status == -1:
            why = "stopped after %.0f s; its last line: %s" % (time.monotonic() - begin, why)
        absent = re.search(r"No module named", why) is not None
        verdict = "skipped" if status == -2 or absent else late if status == -1 else "failed"
        check.result(verdict, name, "status %d: %s" % (status, why))
    else:
        check.record(bench=name, **found)
    return found


# --- ceilings and ops ------------------------------------------------------------------------------


def ceilings(check):
    check.ceilings = None
    program = check.program("bench_ceilings")
    if not check.gpu or not program:
        return check.result("skipped", "ceilings", "no GPU" if not check.gpu else "no bench_ceilings")
    check.ceilings = answer(check, "ceilings", [program], 60)
    if check.ceilings:
        check.result("passed", "ceilings", ", ".join("%s %s" % i for i in check.ceilings.items()))


def ops(check, size):
    """Where a step's time goes, by op and kernel, beside the card's ceilings."""
    program = check.program("bench_detector")
    if not program:
        return check.result("skipped", "op by op", "no bench_detector")
    status, output = check.run([program, "--device", device(check), "--precision", "auto", "--shards", "1",
                                "--ops"] + size, 60)
    found = [json.loads(line) for line in output.splitlines() if line.startswith('{"node"')]
    if status != 0 or not found:
        return check.result("failed", "op by op", output.strip()[-200:] or "status %d" % status)
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
    check.table("One step, op by op (kernels repeated ten times each; sum %.2f ms):\n\n%s" %
                (sum(op["ms"] for op in found), "\n".join(lines)))
    gaps.sort(reverse=True)
    for op in gaps:
        check.record(op=op[1], kind=op[2], kernel=op[3], ms=op[4], roof_ms=op[5])
    check.result("passed", "op by op", "largest gaps: " + "; ".join(
        "%s (%s) %.3f ms, at best %.3f" % (node, kind, ms, roof) for _, node, kind, _, ms, roof in gaps[:3]))


# --- starts and checkpoints ------------------------------------------------------------------------


def step_times(check, command, limit):
    """Seconds from the start to the first sight of each step, as a terminal shows them; to the end."""
    master, slave = pty.openpty()
    start, seen, text = time.monotonic(), {}, ""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=slave, stderr=slave, cwd=check.work,
                               env=dict(check.environment, COLUMNS="200", TERM="xterm"))
    os.close(slave)
    while time.monotonic() - start < limit:
        try:
            data = os.read(master, 65536)
        except OSError:  # the other side is closed
            break
        now = time.monotonic() - start
        text = text[-200:] + data.decode(errors="replace")
        for number in STEP.findall(text):
            seen.setdefault(int(number), now)
    if process.poll() is None and time.monotonic() - start >= limit:
        process.kill()
    os.close(master)
    status = process.wait()
    check.log("$ %s\n[status %d, steps seen: %s]\n%s\n" % (" ".join(command), status, len(seen), text[-400:]))
    return seen, status


def training(check, folder, steps, *keys):
    keys = list(keys)
    if check.options.tiny:
        keys += ["data.synthetic=20", "model.input=64", "train.batch=4"]
    return [check.program("train"), "--config", os.path.join(os.path.dirname(os.path.dirname(
        os.path.abspath(__file__))), "configs/mask-demo.ini"), "data.root=" + os.path.join(check.work, "data-bench"),
            "run.dir=" + os.path.join(check.work, folder), "run.plots=false", "train.eval_every=100000",
            "train.shards=1", "train.steps=%d" % steps, "run.device=" + device(check)] + keys


def starts(check):
    """exec to the first finished step of a resume."""
    firsts = []
    for i in range(4):
        seen, status = step_times(check, training(check, "starts", 3 * (i + 1)), 60)
        if status != 0 or not seen:
            return check.result("failed", "start", "status %d" % status)
        if i > 0:
            firsts.append(seen[min(seen)])
    check.record(bench="resume", seconds=firsts)
    verdict = check.expect if check.gpu else lambda good, name, why: check.result("passed", name, why)
    verdict(min(firsts) <= 1.5, "exec to the first step of a resume", "best %.2f s, median %.2f s of %d; aim 1.5 s" % (
        min(firsts), statistics.median(firsts), len(firsts)))


def checkpoints(check):
    """A checkpoint after every step, and none: seconds a step of runs in turn. Offered: a newer one
    replaces one that waits for the disk. Kept up with: every_steps = 1, of which two at most are lost,
    so that a step shorter than a write waits for it."""
    steps = 8 if check.options.tiny else 300
    each = {"without": [], "offered": [], "kept up with": []}
    keys = {"without": "checkpoint.every_steps=1000000", "offered": "checkpoint.every_seconds=0.0001",
            "kept up with": "checkpoint.every_steps=1"}
    for i in range(3):
        for name, key in keys.items():
            seen, status = step_times(check, training(check, "save-%s-%d" % (name[:4], i), steps, key), 60)
            inner = sorted(seen)[1:]
            if status != 0 or len(inner) < 2:
                return check.result("failed", "checkpoints", "status %d, %d steps seen" % (status, len(seen)))
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
    script = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "bench", theirs)
    return [check.options.python, script, "--device", device(check)] + size + extra + (
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
        kinds = (("bf16", []), ("bf16", ["--tune"]), ("tf32", [])) if check.gpu else (("auto", []),)
        for precision, tune in kinds[:1] if quick else kinds:
            name = ", ".join(["ours", precision] + (["tuned"] if tune else []))
            found[name] = answer(check, "%s, %s" % (title, name), [
                program, "--device", device(check), "--precision", precision, "--shards", "1"] + tune + size, 60)
    else:
        check.result("skipped", title + ", ours", "no " + ours)
    if getattr(check, "torch", False):
        found["PyTorch, eager"] = answer(check, title + ", PyTorch, eager",
                                         torch_command(check, theirs, size, extra), 60)
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
            "model.size=" + value["--size"], "model.input=" + value["--input"], "model.stride=8",
            "train.batch=" + value["--batch"]]
    steps = 6 if check.options.tiny else 160
    found = {"ours, pictures kept": loader_steps(check, "loader", steps, keys),
             "ours, decoded anew": loader_steps(check, "loader-anew", steps, keys + ["data.cache_mb=0"])}
    if getattr(check, "torch", False):
        files = ["--loader", os.path.join(folder, "images"), "--workers", str(min(os.cpu_count(), 16))]
        found["PyTorch, eager"] = answer(check, "loader, PyTorch", torch_command(
            check, theirs, size[:6] + ["--steps", "8", "--group", "4", "--warm", "6"], extra + files), 90)
    else:
        check.result("skipped", "loader, PyTorch", "no PyTorch")
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


def loader_steps(check, name, steps, keys):
    """Seconds a step of ours once the first quarter is over, as a terminal shows them."""
    seen, status = step_times(check, training(check, name, steps, *keys), 90)
    inner = sorted(seen)[len(seen) // 4:]
    if status != 0 or len(inner) < 2:
        return check.result("failed", name + ", ours", "status %d, %d steps seen" % (status, len(seen))) or None
    seconds = (seen[inner[-1]] - seen[inner[0]]) / (inner[-1] - inner[0])
    check.record(bench=name + ", ours", seconds=[seconds])
    return {"seconds": [seconds]}
