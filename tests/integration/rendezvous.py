"""Workers meet at a real etcd (Debian's): what tests/test_rendezvous.c asks of every kind of place, with
one endpoint and with two of which one is dead or silent; answers that are lost; an etcd that is
killed and started again while processes race. All traffic stays on 127.0.0.1."""
# lane: waiting
# time limit: 280
import base64
import collections
import http.client
import http.server
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

TOOL = os.path.abspath(os.environ.get("RENDEZVOUS_TOOL", "build/release/tests/test_rendezvous"))
failed = False
work = tempfile.mkdtemp(prefix="spotgrad-rendezvous-")


def case(name, ok, why=""):
    global failed
    failed = failed or not ok
    print("ok - " + name if ok else "not ok - %s: %s" % (name, str(why)[-400:].replace("\n", " ")),
          flush=True)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Etcd:
    """One member, on free ports, with its data in a folder of its own."""

    def __init__(self):
        self.port, self.peer = free_port(), free_port()
        self.url = "http://127.0.0.1:%d" % self.port
        self.log = open(os.path.join(work, "etcd.log"), "ab")
        self.process = None
        # in memory where there is such a folder, which outlives a killed process just as well: on a
        # busy disk etcd answers nothing for seconds
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else work
        self.data = tempfile.mkdtemp(prefix="spotgrad-etcd-", dir=memory)
        self.start()

    def start(self):
        peer = "http://127.0.0.1:%d" % self.peer
        self.process = subprocess.Popen(
            ["etcd", "--name", "one", "--data-dir", self.data,
             "--listen-client-urls", self.url, "--advertise-client-urls", self.url,
             "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
             "--initial-cluster", "one=" + peer, "--heartbeat-interval", "20",
             "--election-timeout", "200"], stdout=self.log, stderr=self.log, cwd=work)
        for _ in range(600):
            try:
                if self.ask("/v3/kv/range", {"key": encode("health")}) is not None:
                    return
            except (OSError, http.client.HTTPException, ValueError):
                pass
            time.sleep(0.05)
        raise RuntimeError("etcd does not start: see " + self.log.name)

    def ask(self, path, request):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        c.request("POST", path, json.dumps(request))
        answer = c.getresponse()
        text = answer.read()
        c.close()
        return json.loads(text) if answer.status == 200 else None

    def keys(self):
        answer = self.ask("/v3/kv/range", {"key": encode("/"), "range_end": encode("0"),
                                           "keys_only": True})
        return [base64.b64decode(e["key"]).decode() for e in answer.get("kvs", [])]

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def encode(text):
    return base64.b64encode(text.encode()).decode()


class Proxy(http.server.BaseHTTPRequestHandler):
    """In front of etcd. The answer to one proposal is cut off, and nothing can be watched here."""
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    port, lost = 0, []

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/v3/watch":
            self.send_error(503)
            return
        c = http.client.HTTPConnection("127.0.0.1", Proxy.port, timeout=5)
        c.request("POST", self.path, body)
        answer = c.getresponse()
        text = answer.read()
        c.close()
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.path == "/v3/kv/txn" and not Proxy.lost:
            Proxy.lost.append(text)
            self.close_connection = True
            return
        self.wfile.write(text)


def run(name, url, *mode, limit=100):
    """The tool's cases, under a name before theirs. What it printed beside."""
    start = time.monotonic()
    try:
        done = subprocess.run([TOOL, url, *mode], capture_output=True, text=True, timeout=limit)
        output, errors, status = done.stdout, done.stderr, done.returncode
    except subprocess.TimeoutExpired as e:
        output, errors, status = (e.stdout or b"").decode(), "stopped after %d s" % limit, 1
    results = re.findall(r"^\[ +(OK|FAILED) +\] (\w+)$", output, re.M)
    for outcome, test in results:
        case("%s: %s" % (name, test.replace("_", " ")), outcome == "OK", errors)
    if status != 0 and not any(outcome == "FAILED" for outcome, _ in results):
        case(name, False, "status %d: %s %s" % (status, output, errors))
    for line in re.findall("^# .*$", output, re.M):
        print("%s (%s)" % (line, name))
    print("# %s: %.1f s" % (name, time.monotonic() - start), flush=True)


def outages(etcd):
    """Killed again and again, until the tool has ended."""
    over = threading.Event()
    kills = []

    def attack():
        while not over.wait(1.5):
            etcd.kill()
            kills.append(time.monotonic())
            time.sleep(0.3)
            etcd.start()

    attacker = threading.Thread(target=attack)
    attacker.start()
    run("killed", "etcd://127.0.0.1:%d" % etcd.port, "outage", limit=150)
    over.set()
    attacker.join()
    print("# etcd was killed %d times" % len(kills))
    case("killed: more than once", len(kills) > 1, kills)


def main():
    if not shutil.which("etcd"):
        print("skip - workers meet at etcd: no etcd (scripts/setup ci)")
        return
    etcd = Etcd()
    silent = socket.socket()
    silent.bind(("127.0.0.1", 0))
    silent.listen(64)
    try:
        run("etcd", "etcd://127.0.0.1:%d" % etcd.port)
        members = [key for key in etcd.keys() if "/members/" in key]
        epochs = collections.Counter(key.split("/epochs/")[0] for key in etcd.keys()
                                     if "/epochs/" in key)
        case("etcd: who has left is not there", members == [], members)
        case("etcd: of old records 64 are kept", max(epochs.values()) == 64, epochs)
        run("one of two is dead", "etcd://127.0.0.1:%d,localhost:%d/some/prefix" %
            (free_port(), etcd.port), "quick")
        case("etcd: keys lie where the URL says", any(k.startswith("/some/prefix/test-")
                                                      for k in etcd.keys()), etcd.keys()[:3])
        run("one of two is silent", "etcd://127.0.0.1:%d,127.0.0.1:%d" %
            (silent.getsockname()[1], etcd.port), "quick")
        Proxy.port = etcd.port
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        run("a lost answer", "etcd://127.0.0.1:%d,127.0.0.1:%d" % (server.server_port, etcd.port),
            "lost")
        case("a lost answer: it was", len(Proxy.lost) == 1 and b"succeeded" in Proxy.lost[0])
        run("watched at the other endpoint", "etcd://127.0.0.1:%d,127.0.0.1:%d" %
            (server.server_port, etcd.port), "waits")
        Proxy.lost.clear()
        run("a lost answer", "etcd://127.0.0.1:%d" % server.server_port, "alone")
        case("a lost answer: it was, too", len(Proxy.lost) == 1)
        outages(etcd)
    finally:
        etcd.kill()
        shutil.rmtree(etcd.data, ignore_errors=True)


try:
    main()
finally:
    if not failed:
        shutil.rmtree(work, ignore_errors=True)
sys.exit(1 if failed else 0)
