"""scripts/launch/aws-batch.json: a request that AWS's own model accepts, and what AWS Batch would do
after each exit status of the program.

The rules as AWS documents them: conditions in order, the first whose patterns all match decides, a
pattern may end with an asterisk, no more than five conditions and ten attempts; a failure that
matches none is tried again. Source: docs.aws.amazon.com/batch/latest/userguide/job_retries.html"""
import json
import re
import sys

JSON = "scripts/launch/aws-batch.json"
failed = False


def case(name, ok, why=""):
    global failed
    failed = failed or not ok
    print("ok - " + name if ok else "not ok - %s: %s" % (name, why))


def matches(pattern, text):
    return text.startswith(pattern[:-1]) if pattern.endswith("*") else text == pattern


def action(strategy, ended):
    """What follows when a job `ended` with onExitCode, onReason, onStatusReason ("": AWS has none)."""
    for condition in strategy["evaluateOnExit"]:
        patterns = [(key, value) for key, value in condition.items() if key != "action"]
        if all(matches(value, ended.get(key, "")) for key, value in patterns):
            return condition["action"].upper()
    return "RETRY"


def check_semantics(strategy):
    with open("src/cli/cli.h") as f:
        status = {name: int(n) for name, n in re.findall(r"CLI_(\w+) = (\d+)", f.read())}
    never = {"USAGE", "BAD_DATA", "MISSING", "DIVERGED", "CONFIG"}
    case("AWS Batch: the statuses are the program's", never < set(status) and len(status) >= 10, status)
    wrong = [name for name, n in status.items() if name != "DONE" and
             action(strategy, {"onExitCode": str(n)}) != ("EXIT" if name in never else "RETRY")]
    case("AWS Batch: again after what may pay, never after what cannot", not wrong, wrong)
    gone = [{"onStatusReason": "Host EC2 (instance i-0123456789abcdef0) terminated."},
            {"onExitCode": "137"}, {"onExitCode": "143"}]
    case("AWS Batch: again when the machine went",
         all(action(strategy, ended) == "RETRY" for ended in gone))
    case("AWS Batch: within its limits", 1 <= strategy["attempts"] <= 10 and
         len(strategy["evaluateOnExit"]) <= 5 and
         all(re.fullmatch(r"\d+\*?", c["onExitCode"]) for c in strategy["evaluateOnExit"]), strategy)


def check_model(definition):
    try:
        import botocore.session
        import botocore.validate
    except ImportError:
        print("skip - AWS Batch: a request that AWS's model accepts: no botocore")
        return
    model = botocore.session.get_session().get_service_model("batch")
    shape = model.operation_model("RegisterJobDefinition").input_shape

    def faults():
        return botocore.validate.ParamValidator().validate(definition, shape).generate_report()

    said = faults()
    case("AWS Batch: a request that AWS's model accepts", not said, said)
    values = {c["action"] for c in definition["retryStrategy"]["evaluateOnExit"]}
    case("AWS Batch: actions that it knows", values <= set(model.shape_for("RetryAction").enum), values)
    definition["retryStrategy"]["evaluateOnExit"][0]["exitCode"] = "64"
    case("AWS Batch: its model is asked", "exitCode" in faults(), faults())


def main():
    with open(JSON) as f:
        definition = json.load(f)
    check_semantics(definition["retryStrategy"])
    check_model(definition)
    return 1 if failed else 0


sys.exit(main())
