"""Stores: a folder, and S3 as moto's server speaks it, with IAM users, policies and signatures
checked (by botocore's own signer). A proxy in front of it checks what moto does not (that the
payload is what was signed), and is busy, hangs up, lies or hangs when a case wants that. All
traffic stays on 127.0.0.1."""
import hashlib
import http.client
import http.server
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

TOOL = os.path.abspath(os.environ.get("STORE_TOOL", "build/release/tests/test_uploader"))
MIB = 1 << 20
failed = False
work = tempfile.mkdtemp(prefix="spotgrad-store-")


def case(name, ok, why=""):
    global failed
    failed = failed or not ok
    print("ok - " + name if ok else "not ok - %s: %s" % (name, str(why)[:400].replace("\n", " ")),
          flush=True)


def tool(*arguments, environment=None, **more):
    return subprocess.run([TOOL, *arguments], capture_output=True, text=True, timeout=60,
                          env=environment, **more)


def says(name, run, *texts):
    """It failed, and its standard error is one line with all these texts."""
    line = run.stderr
    ok = run.returncode == 1 and line.count("\n") == 1 and all(text in line for text in texts)
    case(name, ok, "status %d: %s" % (run.returncode, line))


def fine(name, run, output=None):
    case(name, run.returncode == 0 and run.stderr == "" and output in (None, run.stdout),
         "status %d: %s %s" % (run.returncode, run.stdout, run.stderr))


def make(name, size=1000, start=b""):
    path = os.path.join(work, name)
    with open(path, "wb") as file:
        file.write(start + os.urandom(size - len(start)))
    return path


def read(path):
    with open(path, "rb") as file:
        return file.read()


class Uploader:
    """The tool's uploader, talked to by lines."""

    def __init__(self, url, environment=None):
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen([TOOL, url, "upload"], stdin=subprocess.PIPE, text=True,
                                        stdout=subprocess.PIPE, stderr=self.errors, env=environment)

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def offer(self, step, size=1000):
        """A file that is gone at once. Returns its content."""
        path = make("offered-%d" % step, size)
        content = read(path)
        self.ask("offer %d %s" % (step, path))
        os.remove(path)
        return content

    def warnings(self):
        self.errors.seek(0)
        return self.errors.read()

    def end(self):
        self.process.stdin.close()
        self.process.wait(timeout=30)
        return self.warnings()


class Service(http.server.ThreadingHTTPServer):
    """A server on a free port, or on a given one."""
    daemon_threads = True

    def __init__(self, handler, port=0):
        super().__init__(("127.0.0.1", port), handler)
        self.url = "http://127.0.0.1:%d" % self.server_port
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client):
        pass

    def stop(self):
        self.shutdown()
        self.server_close()


class Proxy(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    target = None  # host:port of moto
    faults = []    # (what the request line contains, how it is answered), each used once
    seen = []      # request lines
    wrong = []     # what is not as S3 wants it

    def log_message(self, *_):
        pass

    def check(self, body):
        query = self.path.partition("?")[2]
        names = [pair.partition("=")[0] for pair in query.split("&")]
        if hashlib.sha256(body).hexdigest() != self.headers["x-amz-content-sha256"]:
            self.wrong.append("payload of " + self.requestline)
        if query and (names != sorted(names) or query.count("=") != len(names)):
            self.wrong.append("query of " + self.requestline)

    def answer(self, status, body, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def forward(self, body):
        connection = http.client.HTTPConnection(self.target, timeout=30)
        headers = dict(self.headers.items())
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length", "date",
                                    "server"):
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else len(content)
        self.send_header("Content-Length", str(length or 0))
        self.end_headers()
        self.wfile.write(content)

    def handle_one(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.check(body)
        self.seen.append(self.requestline)
        for i, (part, fault) in enumerate(self.faults):
            if part in self.requestline:
                del self.faults[i]
                return fault(self, body)
        return self.forward(body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_one


def says_error(status, code, message="Try later.", **headers):
    text = ("<?xml version='1.0'?><Error><Code>%s</Code><Message>%s</Message></Error>"
            % (code, message))
    return lambda h, body: h.answer(status, text.encode(), **headers)


def says_text(text, status=200):
    return lambda h, body: h.answer(status, text.encode())


def hang_up(h, body):
    h.close_connection = True
    h.connection.shutdown(socket.SHUT_RDWR)


def hang(h, body):
    time.sleep(30)
    h.close_connection = True


def cut_off(h, body):
    h.send_response(200)
    h.send_header("Content-Length", "1000")
    h.end_headers()
    h.wfile.write(b"x" * 500)
    h.wfile.flush()
    hang_up(h, body)


def damage_head(h, body):
    h.answer(200, b"x" * 999, ETag='"other"')


class Metadata(http.server.BaseHTTPRequestHandler):
    """IMDSv2 and a container's credentials. `given` are the credentials, by request."""
    protocol_version = "HTTP/1.1"
    given = []
    life = 3600
    asked = 0

    def log_message(self, *_):
        pass

    def answer(self, status, text):
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def do_PUT(self):
        ttl = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds")
        self.answer(200 if ttl else 400, "the-token")

    def credentials(self):
        keys = Metadata.given[0]
        if len(Metadata.given) > 1:
            del Metadata.given[0]
        Metadata.asked += 1
        self.answer(200, json.dumps({
            "Code": "Success", "AccessKeyId": keys["AccessKeyId"],
            "SecretAccessKey": keys["SecretAccessKey"], "Token": keys["SessionToken"],
            "Expiration": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + self.life))}))

    def do_GET(self):
        roles = "/latest/meta-data/iam/security-credentials/"
        if self.path == "/container":
            if self.headers.get("Authorization") == "let me in":
                return self.credentials()
            return self.answer(403, "no")
        if self.headers.get("X-aws-ec2-metadata-token") != "the-token":
            return self.answer(401, "no token")
        if self.path == roles:
            return self.answer(200, "trainer\n")
        if self.path == roles + "trainer":
            return self.credentials()
        return self.answer(404, "")


def documented_policy(bucket):
    """The policy that docs/stores.md says is enough."""
    with open("docs/stores.md") as file:
        text = re.search(r"```json\n(.*?)```", file.read(), re.S).group(1)
    return text.replace("BUCKET", bucket)


class Cloud:
    """moto with one bucket, a user who may use a prefix, one who may nothing, and a role."""

    def __init__(self):
        for name in list(os.environ):
            if name.startswith("AWS_") or name.lower().endswith("_proxy"):
                del os.environ[name]
        os.environ["MOTO_S3_DEFAULT_MAX_KEYS"] = "4"
        os.environ.update(AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="x", AWS_REGION="us-east-1")
        import boto3
        import logging
        from moto.server import ThreadedMotoServer
        from moto import settings
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self.server.start()
        self.moto = "http://%s:%d" % self.server.get_host_and_port()
        Proxy.target = self.moto[len("http://"):]
        self.proxy = Service(Proxy)
        client = dict(endpoint_url=self.moto, region_name="us-east-1")
        iam = boto3.client("iam", **client)
        boto3.client("s3", **client).create_bucket(Bucket="spot")
        policy = documented_policy("spot")
        iam.create_user(UserName="trainer")
        iam.put_user_policy(UserName="trainer", PolicyName="p", PolicyDocument=policy)
        self.keys = iam.create_access_key(UserName="trainer")["AccessKey"]
        iam.create_user(UserName="nobody")
        self.nobody = iam.create_access_key(UserName="nobody")["AccessKey"]
        iam.create_role(RoleName="trainer", AssumeRolePolicyDocument="{}")
        iam.put_role_policy(RoleName="trainer", PolicyName="p", PolicyDocument=policy)
        role = "arn:aws:iam::123456789012:role/trainer"
        sts = boto3.client("sts", **client)
        self.sessions = [sts.assume_role(RoleArn=role, RoleSessionName="s%d" % i)["Credentials"]
                         for i in range(3)]
        iam.create_user(UserName="judge")
        allowed = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}'
        iam.put_user_policy(UserName="judge", PolicyName="p", PolicyDocument=allowed)
        self.all = judge = iam.create_access_key(UserName="judge")["AccessKey"]
        settings.INITIAL_NO_AUTH_ACTION_COUNT = 0  # from here on everything is checked
        self.judge = boto3.client("s3", aws_access_key_id=judge["AccessKeyId"],
                                  aws_secret_access_key=judge["SecretAccessKey"], **client)

    def environment(self, keys=None, **more):
        keys = keys or self.keys
        environment = {"AWS_ACCESS_KEY_ID": keys["AccessKeyId"], "AWS_REGION": "us-east-1",
                       "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"],
                       "AWS_ENDPOINT_URL": self.proxy.url}
        if "SessionToken" in keys:
            environment["AWS_SESSION_TOKEN"] = keys["SessionToken"]
        environment.update(more)
        return {name: value for name, value in environment.items() if value is not None}

    def run(self, url, *arguments, **more):
        Proxy.seen.clear()
        return tool(url, *arguments, environment=self.environment(**more))

    def content(self, key):
        return self.judge.get_object(Bucket="spot", Key=key)["Body"].read()

    def names(self, prefix):
        found = self.judge.list_objects_v2(Bucket="spot", Prefix=prefix, MaxKeys=1000)
        return [entry["Key"] for entry in found.get("Contents", [])]


def put_and_get(cloud, kind, url):
    small, got = make("small"), os.path.join(work, "got")
    fine(kind + ": an empty store", cloud.run(url, "list"), "")
    fine(kind + ": put", cloud.run(url, "put", "step-000000001.h5", small))
    empty = make("empty", 0)
    fine(kind + ": put an empty file", cloud.run(url, "put", "nothing", empty))
    listed = sorted(cloud.run(url, "list").stdout.split("\n")[:-1])
    case(kind + ": list", listed == ["nothing 0", "step-000000001.h5 1000"], listed)
    fine(kind + ": get", cloud.run(url, "get", "step-000000001.h5", got))
    case(kind + ": the same bytes", read(got) == read(small))
    fine(kind + ": put again", cloud.run(url, "put", "step-000000001.h5", empty))
    fine(kind + ": get again", cloud.run(url, "get", "step-000000001.h5", got))
    case(kind + ": replaced", read(got) == b"")
    says(kind + ": no such object", cloud.run(url, "get", "step-2.h5", os.path.join(work, "none")),
         "input missing: ", "/step-2.h5")
    case(kind + ": leaves no file", not [f for f in os.listdir(work) if f.startswith("none")])
    for name in "step-000000001.h5", "nothing", "nothing":
        fine(kind + ": remove " + name, cloud.run(url, "remove", name))
    fine(kind + ": empty again", cloud.run(url, "list"), "")
    says(kind + ": a bad name", cloud.run(url, "put", "a/b", small), "bad argument: ", "'a/b'")
    says(kind + ": no such file", cloud.run(url, "put", "a", "/nowhere/a"), "input missing: ")


def newest(cloud, kind, url):
    into = tempfile.mkdtemp(dir=work)
    fine(kind + ": nothing to fetch", cloud.run(url, "fetch", into), "none\n")
    for step in range(7):
        path = make("step", start=b"bad" if step in (6, 5) else b"")
        cloud.run(url, "put", "step-%09d.h5" % (step * 100), path)
        if step == 4:
            good = read(path)
    cloud.run(url, "put", "step-1000.h5", make("other"))
    run = cloud.run(url, "fetch", into)
    name = "step-000000400.h5"
    case(kind + ": the newest whole one is fetched",
         run.stdout == os.path.join(into, name) + "\n" and read(run.stdout.strip()) == good
         and os.listdir(into) == [name], run.stdout + run.stderr)
    case(kind + ": damaged ones are named", re.fullmatch(
        "(warning: .*/step-000000[65]00.h5 is damaged, trying the one before: it begins .*\n){2}",
        run.stderr), run.stderr)


def check_folder(environment):
    class Here:
        def run(self, *arguments):
            return tool(*arguments, environment=environment)
    folder = os.path.join(work, "store", "run")
    put_and_get(Here(), "folder", folder)
    newest(Here(), "folder", folder + "/")
    into = os.path.join(folder, ".step.other.1.tmp")
    make("store/run/.step.other.1.tmp")
    os.utime(into, (time.time() - 2e5,) * 2)
    make("store/run/.step.other.2.tmp")
    Here().run(folder, "put", "a", make("small"))
    left = [f for f in os.listdir(folder) if f.startswith(".")]
    case("folder: what was abandoned long ago is removed", left == [".step.other.2.tmp"], left)
    says("folder: it cannot be made", tool("/dev/null/store", "list"), "i/o error: /dev/null")
    says("a bad URL", tool("http://x/y", "list"), "bad configuration: http://x/y: a store is")


def check_sizes(cloud):
    for size, parts in (8 * MIB, 0), (8 * MIB + 1, 2), (20000000, 3):
        path, got = make("large", size), os.path.join(work, "got")
        fine("S3: put %d bytes" % size, cloud.run("s3://spot/large", "put", "large.h5", path))
        sent = sum("partNumber" in line for line in Proxy.seen)
        case("S3: %d parts" % parts, sent == parts, Proxy.seen)
        case("S3: the %d bytes are there" % size, cloud.content("large/large.h5") == read(path))
        fine("S3: get %d bytes" % size, cloud.run("s3://spot/large", "get", "large.h5", got))
        case("S3: the same %d bytes" % size, read(got) == read(path))
        os.remove(got)


def check_refusals(cloud):
    url, small = "s3://spot/refused", make("small")
    wrong = dict(cloud.keys, SecretAccessKey="w" * 40)
    says("S3: a wrong secret is one line", cloud.run(url, "put", "a", small, keys=wrong),
         "unavailable: s3://spot/refused/a: PUT: HTTP 403 SignatureDoesNotMatch: ")
    case("S3: and asked once", len(Proxy.seen) == 1, Proxy.seen)
    unknown = dict(cloud.keys, AccessKeyId="AKIANOBODY")
    says("S3: an unknown key", cloud.run(url, "list", keys=unknown),
         "unavailable: s3://spot/refused: GET: HTTP 403 InvalidAccessKeyId: ")
    says("S3: no rights", cloud.run(url, "list", keys=cloud.nobody), "HTTP 403 AccessDenied: ")
    says("S3: no such bucket", cloud.run("s3://nowhere", "list", keys=cloud.all), "unavailable: s3://nowhere: ",
         "HTTP 404 NoSuchBucket: ")
    Proxy.faults.append(("GET", says_error(301, "PermanentRedirect", "Use the right endpoint.",
                                           x_amz_bucket_region="eu-west-3")))
    says("S3: another region", cloud.run(url, "list"), "HTTP 301 PermanentRedirect: ",
         "; set AWS_REGION=eu-west-3")
    says("S3: no region", cloud.run(url, "list", AWS_REGION=None, AWS_ENDPOINT_URL=None),
         "bad configuration: s3://spot/refused: in which region? Set AWS_REGION")
    says("S3: half a key", cloud.run(url, "list", AWS_SECRET_ACCESS_KEY=None),
         "AWS_SECRET_ACCESS_KEY is not: set both")
    says("S3: no endpoint's URL", cloud.run(url, "list", AWS_ENDPOINT_URL="localhost:1"),
         "bad configuration: AWS_ENDPOINT_URL: localhost:1")
    says("S3: no bucket", cloud.run("s3://", "list"), "bad configuration: ")


def check_credentials(cloud):
    url, small = "s3://spot/credentials", make("small")
    fine("S3: a session token", cloud.run(url, "put", "a", small, keys=cloud.sessions[0]))
    stale = dict(cloud.sessions[0], SessionToken="stale")
    says("S3: a wrong session token", cloud.run(url, "list", keys=stale), "HTTP 400 InvalidToken: ")
    none = {"AccessKeyId": None, "SecretAccessKey": None}
    says("S3: no credentials", cloud.run(url, "list", keys=none, AWS_EC2_METADATA_DISABLED="true"),
         "unavailable: ", "no AWS credentials: set AWS_ACCESS_KEY_ID")
    metadata = Service(Metadata)
    Metadata.given = [cloud.sessions[1]]
    role = dict(keys=none, AWS_EC2_METADATA_SERVICE_ENDPOINT=metadata.url + "/")
    fine("S3: the instance's role", cloud.run(url, "put", "b", small, **role))
    case("S3: credentials are asked for once", Metadata.asked == 1, Metadata.asked)
    task = dict(keys=none, AWS_CONTAINER_CREDENTIALS_FULL_URI=metadata.url + "/container")
    fine("S3: the container's role", cloud.run(
        url, "put", "c", small, AWS_CONTAINER_AUTHORIZATION_TOKEN="let me in", **task))
    says("S3: not the container's role", cloud.run(url, "list", **task), "/container: HTTP 403")
    for far in "example.org", "127.0.0.1.example.org", "localhost:80@example.org":
        says("S3: a container's URL far away, " + far, cloud.run(
            url, "list", keys=none, AWS_CONTAINER_CREDENTIALS_FULL_URI="http://%s/c" % far),
            "neither https nor this machine")
    check_renewal(cloud, url, role)
    metadata.stop()
    says("S3: no metadata service", cloud.run(url, "list", **role), "no AWS credentials", metadata.url)


def check_renewal(cloud, url, role):
    """Credentials that end soon are asked for again; so are those that S3 calls expired."""
    Metadata.given, Metadata.asked, Metadata.life = list(cloud.sessions), 0, 2
    u = Uploader(url, cloud.environment(**role))
    u.offer(1)
    u.ask("wait 20")
    time.sleep(1.2)
    u.offer(2)
    case("S3: credentials are renewed", u.ask("wait 20") == "done" and Metadata.asked >= 2,
         Metadata.asked)
    case("S3: without a warning", u.end() == "")
    Metadata.given, Metadata.asked, Metadata.life = list(cloud.sessions), 0, 3600
    Proxy.faults.append(("PUT", says_error(400, "ExpiredToken")))
    fine("S3: an expired token", cloud.run(url, "put", "d", make("small"), **role))
    case("S3: and a new one", Metadata.asked == 2, Metadata.asked)


def check_trouble(cloud):
    url, small, got = "s3://spot/trouble", make("small"), os.path.join(work, "never")
    large = make("large", 9 * MIB)
    Proxy.faults += [("PUT", says_error(503, "SlowDown")), ("PUT", hang_up),
                     ("PUT", says_text("<html>Too Many Requests</html>", 429))]
    fine("S3: busy, gone, busy, there", cloud.run(url, "put", "a", small))
    case("S3: all of it arrived", cloud.content("trouble/a") == read(small))
    Proxy.faults += [("GET", says_error(500, "InternalError", "We are sorry."))] * 4
    says("S3: it stays busy", cloud.run(url, "list"), "HTTP 500 InternalError: We are sorry.")
    case("S3: asked four times", len(Proxy.seen) == 4, Proxy.seen)
    Proxy.faults += [("partNumber=2", says_error(503, "SlowDown")),
                     ("POST /spot/trouble/large?uploadId", says_error(200, "InternalError"))]
    fine("S3: trouble with a part and at the end", cloud.run(url, "put", "large", large))
    case("S3: all parts arrived", cloud.content("trouble/large") == read(large))
    Proxy.faults.append(("partNumber=2", says_error(403, "AccessDenied", "No more.")))
    says("S3: a part is refused", cloud.run(url, "put", "broken", large),
         "/trouble/broken: PUT: HTTP 403 AccessDenied: No more.")
    left = cloud.judge.list_multipart_uploads(Bucket="spot").get("Uploads", [])
    case("S3: no part is left behind", left == [] and "trouble/broken" not in cloud.names("trouble"),
         left)
    Proxy.faults.append(("HEAD", damage_head))
    says("S3: something else is there", cloud.run(url, "put", "a", small), "sent 1000 bytes", "found 999")
    Proxy.faults += [("GET", cut_off)] * 4
    says("S3: an answer that is cut off", cloud.run(url, "get", "a", got), "unavailable: ")
    case("S3: leaves no file", not [f for f in os.listdir(work) if f.startswith("never")])
    Proxy.faults += [("GET", cut_off), ("GET", cut_off)]
    fine("S3: cut off twice, then whole", cloud.run(url, "get", "a", got))
    case("S3: nothing of the cut ones", read(got) == read(small))
    for name, text in (("half", "<ListBucketResult><Contents><Key>a</Key>"), ("empty", ""),
                       ("HTML", "<html><body>Log in</body></html>"),
                       ("a document type", "<!DOCTYPE a [<!ENTITY b 'c'>]><ListBucketResult/>"),
                       ("no size", "<ListBucketResult><Contents><Key>trouble/a</Key></Contents></ListBucketResult>"),
                       ("endless", "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>")):
        Proxy.faults.append(("GET", says_text(text)))
        says("S3: a list that is %s" % name, cloud.run(url, "list"), "bad data: s3://spot/trouble: ")
    case("S3: all faults were met", Proxy.faults == [], Proxy.faults)


def check_uploader(cloud):
    url = "s3://spot/uploads"
    u = Uploader(url, cloud.environment())
    for step in range(1, 6):
        last = u.offer(step, 9 * MIB if step == 5 else 1000)
        u.ask("wait 20")
    case("uploader: the newest three", cloud.names("uploads")
         == ["uploads/step-%09d.h5" % step for step in (3, 4, 5)], cloud.names("uploads"))
    case("uploader: the newest is whole", cloud.content("uploads/step-000000005.h5") == last)
    case("uploader: without a warning", u.end() == "")
    free = socket.socket()
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
    free.close()
    u = Uploader(url, cloud.environment(AWS_ENDPOINT_URL="http://127.0.0.1:%d" % port))
    u.offer(6)
    start = time.monotonic()
    case("uploader: a wait has its end", u.ask("wait 0.5") == "not yet"
         and time.monotonic() - start < 2)
    deadline = time.monotonic() + 30
    while "warning" not in u.warnings() and time.monotonic() < deadline:
        time.sleep(0.1)
    last = u.offer(7)
    case("uploader: out of reach is a warning", re.fullmatch(
        "warning: .*training goes on.*s3://spot/uploads/step-000000006.h5: http://127.0.0.1:%d: "
        ".*\n" % port, u.warnings()), u.warnings())
    proxy = Service(Proxy, port)
    case("uploader: it catches up", u.ask("wait 30") == "done")
    case("uploader: with the newest", cloud.content("uploads/step-000000007.h5") == last)
    case("uploader: works again", re.fullmatch(
        "warning: .*\nwarning: .* works again after [0-9]+ s: step [67] is there\n", u.warnings()),
        u.warnings())
    u.end()
    proxy.stop()
    u = Uploader(url, cloud.environment())
    Proxy.faults.append(("PUT", hang))
    u.offer(8)
    time.sleep(0.5)
    start = time.monotonic()
    u.end()
    case("uploader: ends while the service hangs", time.monotonic() - start < 1.5,
         time.monotonic() - start)


def main():
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    check_folder(environment)
    try:
        import boto3  # noqa: F401
        import moto.server  # noqa: F401
    except ImportError as error:
        print("skip - S3: %s" % error)
        return failed
    cloud = Cloud()
    put_and_get(cloud, "S3", "s3://spot/run 1/caf\u00e9+b~c")
    put_and_get(cloud, "S3 without a prefix", "s3://spot")
    newest(cloud, "S3", "s3://spot/newest/")
    check_sizes(cloud)
    check_refusals(cloud)
    check_credentials(cloud)
    check_trouble(cloud)
    check_uploader(cloud)
    case("S3: payloads are as they were signed, queries sorted", Proxy.wrong == [], Proxy.wrong)
    return failed


try:
    status = main()
finally:
    shutil.rmtree(work, ignore_errors=True)
sys.stdout.flush()
os._exit(1 if status else 0)  # moto's threads are not waited for
