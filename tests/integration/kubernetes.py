"""scripts/launch/kubernetes.yaml: YAML, consistent with the program: which exit statuses end the Job,
which cost nothing, keys that exist, names that fit together. No cluster is asked.

The rules as Kubernetes documents them: of podFailurePolicy the first that matches decides, none: the
failure counts. Source: kubernetes.io/docs/concepts/workloads/controllers/job/#pod-failure-policy"""
import re
import subprocess
import sys

YAML = "scripts/launch/kubernetes.yaml"
failed = False


def case(name, ok, why=""):
    global failed
    failed = failed or not ok
    print("ok - Kubernetes: " + name if ok else "not ok - Kubernetes: %s: %s" % (name, why))


def action(policy, status, conditions=()):
    """What becomes of a pod whose worker ended with `status`."""
    for rule in policy["rules"]:
        codes = rule.get("onExitCodes")
        if codes and codes["operator"] == "In" and status in codes["values"]:
            return rule["action"]
        if any(c["type"] in conditions and c["status"] == "True" for c in rule.get("onPodConditions", ())):
            return rule["action"]
    return "Count"


def statuses():
    with open("src/cli/cli.h", encoding="utf-8") as file:
        return {name: int(n) for name, n in re.findall(r"CLI_(\w+) = (\d+)", file.read())}


def check_statuses(spec):
    status, policy = statuses(), spec["podFailurePolicy"]
    never = {"USAGE", "BAD_DATA", "MISSING", "DIVERGED", "CONFIG"}
    case("the statuses are the program's", never < set(status) and len(status) >= 10, status)
    wrong = [name for name, n in status.items() if name != "DONE" and action(policy, n) !=
             ("FailJob" if name in never else "Ignore" if name == "INTERRUPTED" else "Count")]
    case("ends for what is never worth another try, counts no interruption", not wrong, wrong)
    case("a node that goes costs nothing", action(policy, 137, ["DisruptionTarget"]) == "Ignore")
    case("a FailJob comes before the node's going", action(policy, 78, ["DisruptionTarget"]) == "FailJob")
    case("no number of failures ends it", spec["backoffLimit"] == 2 ** 31 - 1, spec["backoffLimit"])


def check_worker(spec, documents):
    pod = spec["template"]["spec"]
    worker = pod["containers"][0]
    named = {r["onExitCodes"]["containerName"] for r in spec["podFailurePolicy"]["rules"] if "onExitCodes" in r}
    case("rules name the container", named == {worker["name"]}, named)
    case("as podFailurePolicy demands", pod["restartPolicy"] == "Never" and spec["completionMode"] == "Indexed")
    case("as many at a time as there are", spec["parallelism"] == spec["completions"] > 1)
    case("its volumes are there", {m["name"] for m in worker["volumeMounts"]} == {v["name"] for v in pod["volumes"]})
    services = [d["metadata"]["name"] for d in documents if d["kind"] == "Service"]
    store = next(a for a in worker["args"] if a.startswith("distributed.store="))
    case("the store is the service", store.startswith("distributed.store=etcd://%s:2379/" % services[0]), store)
    variables = {v for a in worker["args"] for v in re.findall(r"\$\((\w+)\)", a)}
    case("variables in arguments are set", variables == {e["name"] for e in worker["env"]}, variables)
    run_dir = next(a for a in worker["args"] if a.startswith("run.dir=")).split("=")[1]
    mount = next((m for m in worker["volumeMounts"] if run_dir.startswith(m["mountPath"] + "/")), {})
    volume = next((v for v in pod["volumes"] if v["name"] == mount.get("name")), {})
    case("the run's folder outlives a pod", "persistentVolumeClaim" in volume, (run_dir, volume))
    keys = [a.replace("$(POD_IP)", "127.0.0.1") for a in worker["args"] if "=" in a]
    said = subprocess.run(["bin/spotgrad", "train", "--print-config", *keys], capture_output=True, text=True,
                          check=False)
    case("its keys exist", said.returncode == 0, said.stderr.strip())
    said = subprocess.run(["bin/spotgrad", "train", "--print-config", "distributed.stor=x"], capture_output=True,
                          text=True, check=False)
    case("the program is asked", said.returncode == 78, said.stderr.strip())


def check_labels(documents):
    for d in documents:
        if d["kind"] == "StatefulSet":
            label = d["spec"]["template"]["metadata"]["labels"]
            case("etcd's selectors fit", d["spec"]["selector"]["matchLabels"] == label and any(
                e["kind"] == "Service" and e["spec"]["selector"] == label and
                e["metadata"]["name"] == d["spec"]["serviceName"] for e in documents), label)
    policy = next(d for d in documents if d["kind"] == "NetworkPolicy")["spec"]
    covered = set(policy["podSelector"]["matchExpressions"][0]["values"])
    labels = {d["spec"]["template"]["metadata"]["labels"]["app"] for d in documents if "template" in d["spec"]}
    case("nobody else reaches any of its pods", covered == labels, (covered, labels))


def main():
    try:
        import yaml
    except ImportError:
        print("skip - Kubernetes: no PyYAML, scripts/setup test installs it")
        return 0

    class Strict(yaml.SafeLoader):
        """A key twice in a mapping is an error, as it is to Kubernetes."""
        def construct_mapping(self, node, deep=False):
            keys = [self.construct_object(key, deep) for key, _ in node.value]
            assert len(keys) == len(set(keys)), (node.start_mark, keys)
            return super().construct_mapping(node, deep)

    with open(YAML, encoding="utf-8") as file:
        documents = list(yaml.load_all(file, Strict))
    kinds = sorted(d["kind"] for d in documents)
    case("is what it is said to be", kinds == ["Job", "NetworkPolicy", "Service", "StatefulSet"], kinds)
    job = next(d for d in documents if d["kind"] == "Job")["spec"]
    check_statuses(job)
    check_worker(job, documents)
    check_labels(documents)
    return 1 if failed else 0


sys.exit(main())
