"""What scripts/gpu-check and its benchmarks run programs with, and write what was found with. Whatever is
run has an end: no wait is longer than what is left of the check's time, output goes to a file and not
to a pipe that a child of a child may hold open, and a program that the driver does not let die is left
behind. What was found is in the folder as soon as it is known: whoever kills the check loses the rest."""
import glob
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LOG_BYTES = 12 << 20  # of log.txt
OUTPUT_BYTES = 256 << 10  # of one program's in it
ARCHIVE_BYTES = 16 << 20  # of inductor.tar.gz
ARCHIVE = "inductor.tar.gz"
# a folder of its own name, for what torch.compile keeps holds paths: another machine's is unpacked here
CACHE = os.path.join(tempfile.gettempdir(), "spotgrad-inductor")
FILES = r"summary\.md|results\.jsonl|log\.txt"
RESERVE = 20  # seconds of the check that are kept for its end
# PyTorch as it comes: in the caller's environment, where library_path() may give it other libraries of
# NVIDIA's than its own
PEER = {"LD_LIBRARY_PATH": os.environ.get("LD_LIBRARY_PATH", "")}
LATE = "no time was left"


class Job:
    """A program under way, in a session of its own, its output in a file."""

    def __init__(self, command, folder, environment):
        self.command, self.begin, self.stopped = command, time.monotonic(), False
        self.file = tempfile.TemporaryFile(dir=folder)
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.file,
                                        stderr=subprocess.STDOUT, cwd=folder, env=environment,
                                        start_new_session=True)

    def seconds(self):
        return time.monotonic() - self.begin

    def wait(self, seconds):
        """Whether it has ended."""
        try:
            self.process.wait(max(seconds, 0))
            return True
        except subprocess.TimeoutExpired:
            return False

    def stop(self):
        """It and what it has started."""
        if self.process.poll() is None:
            self.stopped = True
            kill_group(self.process)

    def status(self):
        """-1: was stopped; 128 + N: by signal N."""
        code = self.process.poll()
        return -1 if code is None or self.stopped else 128 - code if code < 0 else code

    def output(self):
        """At most 4 MB: the first and the last two."""
        size = os.fstat(self.file.fileno()).st_size
        self.file.seek(0)
        text = self.file.read(2 << 20)
        if size > 4 << 20:
            text += b"\n[...]\n"
        self.file.seek(max(len(text), size - (2 << 20)))
        return (text + self.file.read()).decode("utf-8", "replace")


def kill_group(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except OSError:
        pass
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        pass


class Check:
    """The state of a whole check: what was found, and where it is written."""

    def __init__(self, options):
        self.options, self.out = options, os.path.abspath(options.out)
        self.start_time = time.monotonic()
        self.end = self.part_end = self.start_time + options.minutes * 60
        self.counts = {"passed": 0, "failed": 0, "skipped": 0}
        self.tables, self.part, self.took, self.failures = [], "", [], []
        self.gpu = self.torch = False
        self.ceilings, self.measured, self.jobs, self.logged = None, {}, [], 0
        self.warming = []  # jobs of gpu_bench.warm
        self.work = tempfile.mkdtemp(prefix="spotgrad-gpu-check-")
        os.makedirs(self.out, exist_ok=True)
        for name in os.listdir(self.out):
            if re.fullmatch(FILES, name):
                os.remove(os.path.join(self.out, name))
        self.environment = dict(os.environ, LD_LIBRARY_PATH=library_path(), PYTHONUNBUFFERED="1",
                                PYTHONDONTWRITEBYTECODE="1")

    # --- what is written

    def record(self, **line):
        with open(os.path.join(self.out, "results.jsonl"), "a") as file:
            file.write(json.dumps(dict(part=self.part, **line)) + "\n")

    def result(self, verdict, name, why=""):
        """verdict: passed, failed or skipped."""
        self.counts[verdict] += 1
        self.record(check=name, result=verdict, why=why)
        word = {"passed": "ok", "failed": "not ok", "skipped": "skip"}[verdict]
        print("%s - %s: %s%s" % (word, self.part, name, ": " + why if why else ""), flush=True)
        if verdict != "passed" or why:
            self.tables.append("* %s **%s**: %s" % (name, verdict, why or "-"))
        if verdict == "failed":
            self.failures.append("%s: %s" % (self.part, name))
        self.summarize()
        return verdict == "passed"

    def expect(self, good, name, why):
        """`why` is told in both cases: a number that passed is still worth seeing."""
        return self.result("passed" if good else "skipped" if LATE in why else "failed", name, why)

    def table(self, text):
        self.tables.append("\n" + text.strip("\n") + "\n")
        self.summarize()

    def log(self, text):
        """To log.txt, which stays below its limit."""
        data = text.encode("utf-8", "replace")
        if len(data) > OUTPUT_BYTES:
            data = data[:OUTPUT_BYTES // 2] + b"\n[...]\n" + data[-OUTPUT_BYTES // 2:]
        if self.logged + len(data) > LOG_BYTES:
            return
        self.logged += len(data)
        with open(os.path.join(self.out, "log.txt"), "ab") as file:
            file.write(data)

    def line(self):
        return "%(passed)d passed, %(failed)d failed, %(skipped)d skipped" % self.counts

    def summarize(self, ended=False):
        """summary.md, as far as is known."""
        path = os.path.join(self.out, "summary.md")
        state = "" if ended else " so far; not at its end"
        parts = ", ".join("%s %.0f" % part for part in self.took)
        failed = "".join("* failed: %s\n" % name for name in self.failures[:30])
        with open(path + ".new", "w") as file:
            file.write("# gpu-check: %s%s\n\n%.0f s: %s\n%s%s\n" % (
                self.line(), state, time.monotonic() - self.start_time, parts, failed, "\n".join(self.tables)))
        os.replace(path + ".new", path)

    # --- what is run

    def left(self):
        """Seconds that a program may still take."""
        return min(self.end - RESERVE, self.part_end) - time.monotonic()

    def start(self, command, **environment):
        job = Job(command, self.work, dict(self.environment, **environment))
        self.jobs.append(job)
        return job

    def ended(self, job, limit):
        """(exit status, output) of a job, waited for; -1: stopped after `limit` seconds from now."""
        if not job.wait(min(limit, self.left())):
            job.stop()
        status, output = job.status(), job.output()
        self.log("$ %s\n%s\n[status %d after %.1f s]\n\n" % (shell(job.command), output, status, job.seconds()))
        self.jobs.remove(job)
        job.file.close()
        return status, output

    def run(self, command, limit, **environment):
        """As `ended`; -2: could not be started."""
        if min(limit, self.left()) < 2:
            return -1, LATE
        try:
            job = self.start(command, **environment)
        except OSError as error:
            return -2, str(error)
        return self.ended(job, limit)

    def side_by_side(self, commands, limit, at_once, whole=3600):
        """Runs those of {name: command}, so many at once and each for `limit` seconds at most, all of them
        for `whole`; yields (name, status, output, seconds) as they end."""
        waiting, running, end = list(commands.items()), {}, time.monotonic() + whole
        while waiting or running:
            while waiting and len(running) < at_once:
                name, command = waiting.pop(0)
                if min(self.left(), end - time.monotonic()) < 2:
                    yield name, -1, LATE, 0.0
                    continue
                try:
                    running[name] = self.start(command)
                except OSError as error:
                    yield name, -2, str(error), 0.0
            for name, job in list(running.items()):
                if job.wait(0) or job.seconds() >= limit or min(self.left(), end - time.monotonic()) <= 0:
                    del running[name]
                    yield (name,) + self.ended(job, 0) + (job.seconds(),)
            time.sleep(0.01)

    def close(self):
        for job in self.jobs + self.warming:
            job.stop()
        try:
            self.keep_cache()
        finally:
            shutil.rmtree(self.work, ignore_errors=True)

    # --- what torch.compile keeps

    def unpack_cache(self):
        """That of an earlier run. What says so, or an empty text."""
        archive = os.path.abspath(self.options.inductor or os.path.join(self.out, ARCHIVE))
        if not os.path.exists(archive):
            return "there is no " + archive if self.options.inductor else ""
        status, output = self.run(["tar", "-C", os.path.dirname(CACHE), "-xzf", archive], 60)
        return "%s of an earlier run: %s" % (ARCHIVE, "unpacked" if status == 0 else last_line(output))

    def keep_cache(self):
        """Into the folder, where it is small enough to be sent."""
        if "compile" not in self.options.parts or not os.path.isdir(CACHE):
            return
        new = os.path.join(self.work, ARCHIVE)
        job = Job(["tar", "-C", os.path.dirname(CACHE), "-czf", new, os.path.basename(CACHE)], self.work,
                  self.environment)
        if not job.wait(max(self.end - time.monotonic() - 3, 5)):
            job.stop()
        size = os.path.getsize(new) if job.status() == 0 else None
        if size is not None and size <= ARCHIVE_BYTES:
            shutil.move(new, os.path.join(self.out, ARCHIVE))
            why = "%.1f MiB" % (size / 1048576.0)
        else:
            why = "left out: " + ("%.1f MiB, more than %d" % (size / 1048576.0, ARCHIVE_BYTES >> 20) if size
                                  else "no time was left to pack it")
        self.tables.append("\n%s: %s; the folder is also left in %s" % (ARCHIVE, why, CACHE))

    # --- ours

    def program(self, name):
        """The path of a program of ours, or None."""
        for folder in ("bin", "build/release/check"):
            path = os.path.join(ROOT, folder, name)
            if os.access(path, os.X_OK):
                return path
        return None

    def whole_program(self, name):
        """As `program`, but not a bundle's launcher, which is linked statically: what it becomes, where the
        host's C library serves."""
        path = os.path.join(ROOT, "lib", name)
        status, output = self.run(["ldd", path], 20) if os.access(path, os.X_OK) else (-1, "")
        return path if status == 0 and "not found" not in output else self.program(name)

    def train_command(self, folder, *keys, steps=None, config="configs/mask-demo.ini"):
        command = [self.program("train"), "--config", os.path.join(ROOT, config)] if config else [self.program("train")]
        command += ["data.root=" + os.path.join(self.work, "data"), "run.plots=false",
                    "run.dir=" + os.path.join(self.work, folder)] + list(keys)
        return command + (["train.steps=%d" % steps] if steps else [])

    def train(self, folder, *keys, limit=120, steps=None, config="configs/mask-demo.ini", **environment):
        return self.run(self.train_command(folder, *keys, steps=steps, config=config), limit, **environment)


def shell(command):
    return " ".join(shlex.quote(word) for word in command)


def library_path():
    """LD_LIBRARY_PATH for programs that are linked to cuBLASLt and cuDNN: the folders of CUDA and of
    the Pythons in PATH. `train` needs none of this, it looks itself (src/gpu/libraries.c)."""
    folders = [os.environ.get("LD_LIBRARY_PATH", ""), "/usr/local/cuda/lib64"]
    prefixes = [os.path.dirname(p) for p in os.environ.get("PATH", "").split(":") if p]
    for prefix in prefixes + ["/usr", "/usr/local"]:
        for where in ("site-packages", "dist-packages"):
            for folder in sorted(glob.glob("%s/lib*/python3*/%s/nvidia/*/lib" % (prefix, where))):
                if [name for library in ("cublasLt", "cudnn", "nccl") for name in glob.glob("%s/lib%s.so*" % (folder, library))]:
                    folders.append(folder)
    return ":".join(dict.fromkeys(f for f in folders if f))


def hash_of(output):
    found = re.findall(r"^state sha256: ([0-9a-f]{64})$", output, re.M)
    return found[-1] if found else None


def last_line(output):
    lines = [line for line in output.strip().splitlines() if line.strip()]
    return lines[-1][:200] if lines else "no output"
