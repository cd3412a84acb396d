# Notices of an interruption, from outside: a run hears one from a stand-in for each cloud's metadata
# service, saves, ends with 75, and goes on to the same bits. tests/test_notices.c has the details.
. tests/lib.sh
command -v python3 >/dev/null || { skip "notices of an interruption" "no python3"; exit 0; }

. tests/metadata.sh

tiny=(--config configs/mask-demo.ini data.root="$work/data" data.synthetic=20 model.input=64
      train.batch=4 train.shards=4 train.epochs=100000 train.eval_every=100000 run.plots=false
      spot.endpoint="$endpoint")

# interrupt CLOUD NOTICE CALM [ARGUMENT...]: a run without end in $work/CLOUD hears NOTICE after its
# first step; then CALM is set again. Its outcome as of `run`, its last step in $saved, and in
# $seconds how long after the notice it was over.
interrupt() {
    local cloud=$1 notice=$2 calm=$3 pid start

    shift 3
    tell "{\"cloud\": \"$cloud\"}" >/dev/null
    : >"$work/err"
    bin/train "${tiny[@]}" run.dir="$work/$cloud" "$@" >"$work/out" 2>"$work/err" </dev/null &
    pid=$!
    for _ in $(seq 1200); do grep -q ' step 1/' "$work/err" && break; sleep 0.05; done
    tell "$notice" >/dev/null
    start=$(date +%s%N)
    status=0; wait $pid || status=$?
    seconds=$(awk "BEGIN { printf \"%.2f\", ($(date +%s%N) - $start) / 1e9 }")
    saved=$(sed -n 's/^interrupted: saved step \([0-9]*\)$/\1/p' "$work/out")
    tell "$calm" >/dev/null
}

# 0.4 s until a service is asked again
interrupt aws '{"action": "{\"action\": \"terminate\", \"time\": \"2040-01-01T00:00:00Z\"}"}' \
    '{"action": null}' spot.provider=auto
expect "AWS" 75 "interrupted: saved step" "AWS's metadata service answers: notices of an" \
    "warning: spot: AWS takes this machine away: terminate, at 2040-01-01T00:00:00Z"
echo "# AWS: over $seconds s after the notice"
n=$((saved + 10))
run bin/train "${tiny[@]}" run.dir="$work/aws" spot.provider=auto train.steps=$n
expect "AWS: goes on" 0 "resumed: step $saved " "done: $n steps"
whole=$(hash_of)
run bin/train "${tiny[@]}" run.dir="$work/undisturbed" spot.provider=none train.steps=$n
expect "undisturbed" 0 "done: $n steps"
same "AWS: the same bits" "$(hash_of)" "$whole"
if grep -q 'spot:' "$work/err"; then fail "provider none asks nobody" "$(grep spot: "$work/err")"
else pass "provider none asks nobody"; fi

interrupt gcp '{"preempted": true}' '{"preempted": false}' spot.provider=gcp
expect "GCP" 75 "interrupted: saved step" "spot: GCP takes this machine away: preempt"
echo "# GCP: over $seconds s after the notice"
run bin/train "${tiny[@]}" run.dir="$work/gcp" spot.provider=gcp train.steps=$((saved + 1))
expect "GCP: goes on" 0 "resumed: step $saved "

interrupt azure '{"events": [{"EventId": "A-1", "EventType": "Preempt", "ResourceType":
    "VirtualMachine", "Resources": ["train-7"], "EventStatus": "Scheduled", "NotBefore": ""}]}' \
    '{"events": []}' spot.provider=auto
expect "Azure" 75 "interrupted: saved step" "spot: Azure takes this machine away: Preempt"
echo "# Azure: over $seconds s after the notice"

# heard before the first step: nothing is lost, and nothing is made of it
tell '{"cloud": "gcp", "preempted": true}' >/dev/null
run timeout -s KILL 20 bin/train "${tiny[@]}" run.dir="$work/gcp" spot.provider=gcp
expect "a machine that goes already" 75 "interrupted: saved step"
here=$(sed -n 's/^interrupted: saved step //p' "$work/out")
run timeout -s KILL 20 bin/train "${tiny[@]}" run.dir="$work/gcp" spot.provider=gcp distributed.min_workers=2 \
    distributed.store="file://$work/meet"
expect "and before other workers have come" 75 "interrupted: saved step $here"

tell '{"cloud": "none", "preempted": false}' >/dev/null
run bin/train "${tiny[@]}" run.dir="$work/none" spot.provider=auto train.steps=20
expect "no cloud" 0 "spot: no metadata service of AWS, GCP or Azure answers" "done: 20 steps"
tell '{"cloud": "aws", "fault": "hang", "fault_all": true}' >/dev/null
run timeout -s KILL 60 bin/train "${tiny[@]}" run.dir="$work/hang" spot.provider=aws train.steps=5
expect "a service that hangs" 0 "done: 5 steps"
run bin/train "${tiny[@]}" run.dir="$work/none" spot.endpoint=169.254.169.254
expect_error "another endpoint" 78 \
    "train: spot.endpoint: \`169.254.169.254\` is not of the form http://HOST:PORT"

exec 8>&-
[ $failures = 0 ]
