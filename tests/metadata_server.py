#!/usr/bin/env python3
"""usage: tests/metadata_server.py [KEY=VALUE...]

A stand-in for the metadata services of AWS, GCP and Azure on 127.0.0.1, for tests. Prints its port
in a line and serves until its standard input ends. VALUE is JSON, or else a text.

    POST /control {"key": value...}   change keys; an unknown one is answered with 400
    POST /control/reset               all keys and counts as at the start
    GET  /control                     all keys, and "counts": requests by "METHOD path status"

keys:
    cloud       aws, gcp, azure, or none: every path is 404
    fault       for every question but those with which a cloud is recognised ("" none):
                hang        accepts, never answers
                500         or any other status; 302 points at a notice
                half        closes the connection in the middle of the body
                cut         a whole answer whose text is half of what it should be
                garbage     bytes that are no text
                huge        100 KB
    fault_all   the same for recognition, too
    delay       seconds before each answer
    ttl         life of an AWS token, seconds; changing "tokens" to 0 forgets all of them
    token_fault hang: the PUT for a token is never answered (hop limit of 1)
    open        AWS answers without a token (IMDSv1), else 401
    action, rebalance    what the two paths say, a text; null: 404
    preempted   what GCP says
    flavor      GCP's answers carry Metadata-Flavor
    etag        GCP's answers carry an ETag
    vm          Azure's name for this machine
    events      Azure's Events
    acknowledged    ids that were sent back; an unknown one is refused with 400"""
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

START = {
    "cloud": "none", "fault": "", "fault_all": False, "delay": 0, "ttl": 21600, "tokens": 0,
    "token_fault": "", "open": False, "action": None, "rebalance": None, "preempted": False,
    "flavor": True, "etag": True, "vm": "train-7", "events": [], "acknowledged": [],
}
RECOGNITION = {"/latest/api/token", "/latest/meta-data/instance-id", "/metadata/instance/compute"}
NOTICE = {"aws": '{"action": "terminate", "time": "2040-01-01T00:00:00Z"}', "gcp": "TRUE"}

state = json.loads(json.dumps(START))
tokens = {}  # name -> until when
counts = {}
changed = threading.Condition()


class Service(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "stand-in"

    def log_message(self, *_):
        pass

    def handle(self):
        try:
            super().handle()
        except ConnectionError:
            pass

    def do_GET(self):
        self.serve("GET")

    def do_PUT(self):
        self.serve("PUT")

    def do_POST(self):
        self.serve("POST")

    def serve(self, method):
        url = urlsplit(self.path)
        self.path_only, self.query = url.path, parse_qs(url.query)
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path_only.startswith("/control"):
            return self.control(method)
        time.sleep(state["delay"])
        recognises = self.path_only in RECOGNITION or (
            state["cloud"] == "gcp" and not any("preempted" in key for key in counts))
        if state["fault"] and (state["fault_all"] or not recognises):
            return self.misbehave(method, state["fault"])
        said = getattr(self, state["cloud"])(method)
        if said:
            self.answer(method, said[0], said[1].encode(), said[2])

    def answer(self, method, status, body, headers=None, send=None):
        with changed:
            key = f"{method} {self.path_only} {status}"
            counts[key] = counts.get(key, 0) + 1
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if send is None else send)

    def misbehave(self, method, fault):
        good = NOTICE.get(state["cloud"], '{"DocumentIncarnation": 1, "Events": [{"EventId": "A", '
                          '"EventType": "Preempt", "ResourceType": "VirtualMachine", "Resources": '
                          '["train-7"], "EventStatus": "Scheduled", "NotBefore": ""}]}').encode()
        google = {"Metadata-Flavor": "Google", "ETag": "f00d"}
        if fault == "hang":
            self.hang()
        elif fault == "half":
            self.answer(method, 200, good, google, good[: len(good) // 2])
            self.close_connection = True
        elif fault == "cut":
            self.answer(method, 200, good[: len(good) // 2], google)
        elif fault == "garbage":
            self.answer(method, 200, bytes(range(256)), google)
        elif fault == "huge":
            self.answer(method, 200, good + b" " * 100000, google)
        else:
            self.answer(method, int(fault), b"error", {"Location": "/notice", **google})

    def hang(self):
        """Until the fault is taken away; then the connection ends without an answer."""
        with changed:
            key = f"hung {self.path_only}"
            counts[key] = counts.get(key, 0) + 1
            fault = (state["fault"], state["token_fault"])
            changed.wait_for(lambda: fault != (state["fault"], state["token_fault"]), 60)
        self.close_connection = True

    # --- the services: (status, text, headers)

    def none(self, method):
        return 404, "not found", {}

    def aws(self, method):
        if self.path_only == "/latest/api/token" and state["token_fault"]:
            self.hang()
            return None
        with changed:
            if self.path_only == "/latest/api/token":
                return self.aws_token(method)
            token, now = self.headers.get("X-aws-ec2-metadata-token"), time.monotonic()
            if tokens.get(token, 0) < now and not (state["open"] and token is None):
                return 401, "Unauthorized", {}
            text = {"/latest/meta-data/instance-id": "i-0123456789abcdef0",
                    "/latest/meta-data/spot/instance-action": state["action"],
                    "/latest/meta-data/events/recommendations/rebalance": state["rebalance"],
                    }.get(self.path_only)
            return (404, "Not Found", {}) if text is None else (200, text, {})

    def aws_token(self, method):
        header = "X-aws-ec2-metadata-token-ttl-seconds"
        if method != "PUT":
            return 405, "", {}
        if not 1 <= int(self.headers.get(header, 0)) <= 21600:
            return 400, "", {}
        state["tokens"] += 1
        name = f"TOKEN{state['tokens']}=="
        tokens[name] = time.monotonic() + state["ttl"]
        return 200, name, {header: str(state["ttl"])}

    def gcp(self, method):
        if self.path_only != "/computeMetadata/v1/instance/preempted":
            return 404, "not found", {}
        if self.headers.get("Metadata-Flavor") != "Google":
            return 403, "Missing Metadata-Flavor:Google header.", {}

        def tag():
            return "beef" if state["preempted"] else "f00d"

        with changed:
            if self.query.get("wait_for_change") == ["true"]:
                if self.query.get("last_etag") == [tag()]:
                    was = tag()
                    changed.wait_for(lambda: was != tag() or state["cloud"] != "gcp",
                                     float(self.query["timeout_sec"][0]))
            headers = {"Metadata-Flavor": "Google"} if state["flavor"] else {}
            if state["etag"]:
                headers["ETag"] = tag()
            return 200, "TRUE" if state["preempted"] else "FALSE", headers

    def azure(self, method):
        if self.headers.get("Metadata", "").lower() != "true" or "api-version" not in self.query:
            return 400, '{"error": "Bad request"}', {}
        with changed:
            if self.path_only == "/metadata/instance/compute":
                return 200, json.dumps({"azEnvironment": "AzurePublicCloud", "name": state["vm"],
                                        "vmSize": "Standard_F2s_v2"}), {}
            if self.path_only != "/metadata/scheduledevents":
                return 404, '{"error": "Not found"}', {}
            if method == "POST":
                return self.azure_start()
            return 200, json.dumps({"DocumentIncarnation": 1, "Events": state["events"]}), {}

    def azure_start(self):
        known = {event["EventId"] for event in state["events"]}
        ids = [event["EventId"] for event in json.loads(self.body)["StartRequests"]]
        if not set(ids) <= known:
            return 400, "", {}
        state["acknowledged"] += ids
        return 200, "", {}

    # --- what tests use

    def control(self, method):
        status = 200
        with changed:
            if method == "POST":
                change = START if self.path_only.endswith("/reset") else json.loads(self.body)
                status = 200 if set(change) <= set(START) else 400
                if status == 200:
                    state.update(json.loads(json.dumps(change)))
                if change.get("tokens") == 0:
                    tokens.clear()
                if change is START:
                    counts.clear()
                changed.notify_all()
            body = json.dumps({**state, "counts": counts}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main():
    for argument in sys.argv[1:]:
        key, _, value = argument.partition("=")
        if key not in START:
            sys.exit(f"metadata_server: {key}: no such key\n{__doc__}")
        try:
            state[key] = json.loads(value)
        except ValueError:
            state[key] = value
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    server.daemon_threads = True
    print(server.server_port, flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


main()
