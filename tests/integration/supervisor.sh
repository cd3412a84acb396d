# What `train --workers` makes of wrong arguments, bad data, full disks, little memory and Ctrl-C.
# Whether its workers end with the same bits, workers.sh asks.
. tests/lib.sh

data=$work/data
tiny=(--config configs/mask-demo.ini data.synthetic=60 data.root="$data" model.input=64 model.stride=8 train.batch=8
      train.shards=8 train.warmup=0 train.eval_every=2 train.epochs=4 run.plots=false run.device=cpu spot.provider=none
      train.threads=1 data.threads=1)
# train FOLDER ARGUMENT...
train() { run bin/train "${tiny[@]}" run.dir="$1" "${@:2}"; }
# start FOLDER ARGUMENT...: in the background and a session of its own; its workers are the children of $pid
start() {
    : >"$work/err"
    setsid env --default-signal=HUP bin/train "${tiny[@]}" run.dir="$1" "${@:2}" >"$work/out" 2>"$work/err" </dev/null &
    pid=$!
}
# wait_for SECONDS COMMAND...: until it succeeds, or the training ends
wait_for() {
    local end=$((SECONDS + $1))

    until "${@:2}" >/dev/null 2>&1; do
        if [ $SECONDS -ge $end ] || ! kill -0 $pid 2>/dev/null; then return 1; fi
        sleep 0.05
    done
}
finish() { status=0; wait $pid || status=$?; }
worker() { cut -d " " -f "$1" "/proc/$pid/task/$pid/children"; }

train "$work/alone"
expect "alone" 0 "done: 24 steps"
whole=$(hash_of)

# --- arguments ---
for n in 0 -1 x 2x 257; do
    train "$work/none" --workers $n
    expect_error "--workers $n" 64 "train: --workers: $n is not a number from 1 to 256; try \`train --help\`"
done
train "$work/none" --workers 9
expect_error "more workers than shards" 64 \
    "train: --workers 9: at most train.shards = 8 have something to do; try \`train --help\`"
train "$work/none" --workers 2 run.tune=true
expect_error "--workers with run.tune" 78 \
    "train: run.tune: workers would choose different kernels, and differ in their bits; leave it out with --workers"
train "$work/none" --workers 2 distributed.min_workers=3
expect_error "--workers below min_workers" 78 \
    "train: distributed.min_workers: 3 never come together; --workers 2 starts fewer"
train "$work/none" --workers 2 --profile
expect_error "--workers with --profile" 64 \
    "train: --profile is of one process: without --workers; try \`train --help\`"
if [ -e "$work/none" ]; then fail "nothing was made" "$(ls "$work/none")"; else pass "nothing was made"; fi
run bin/train --config <(cat configs/mask-demo.ini) "${tiny[@]:2}" run.dir="$work/piped" --workers 2
expect "--workers with a configuration from a pipe" 0 "done: 24 steps"
same "its bits" "$(hash_of)" "$whole"
ln -s "$data" "$work/caf"$'\xe9'
train "$work/bytes" --workers 2 data.root="$work/caf"$'\xe9'
expect "a path that is not UTF-8" 78 "is not UTF-8, as the words of workers must be"
run timeout 60 env --ignore-signal=CHLD bin/train "${tiny[@]}" run.dir="$work/deaf" train.steps=3 --workers 2
expect "started by one that does not hear of children" 0 "done: 3 steps"
train "$work/alone" --workers 2 --list
expect "--workers with --list" 0 "step-000000024.h5, last.h5"
train "$work/stored" --workers 2 distributed.store="file://$work/store"
expect "--workers with a store" 0 "done: 24 steps"
same "its bits" "$(hash_of)" "$whole"

# --- a picture that one worker cannot read, not at once ---
bad=$work/bad/images/$(sed -n 5p "$data/train.txt").png
cp -r "$data" "$work/bad"
head -c 100 "$bad" >"$work/cut" && mv "$work/cut" "$bad"
train "$work/mended" --workers 4 data.root="$work/bad"
expect "a bad picture" 65 "train: $bad: the PNG is cut off after 100 bytes" "saved step"
same "is told once" "$(grep -c "$bad" "$work/err")" 1
same "nobody is started again" "$(grep -c "again$" "$work/err")" 0
cp "$data/images/$(basename "$bad")" "$bad"
train "$work/mended" --workers 4 data.root="$work/bad"
expect "a mended picture" 0 "resumed: step" "done: 24 steps"
same "a mended picture: the same bits" "$(hash_of)" "$whole"

# place FOLDER: where the workers of a run met, once it has ended
place() {
    # shellcheck disable=SC2046
    printf "/dev/shm/spotgrad-%u-%x-%x" "$(id -u)" $(stat -c "%d %i" "$1")
}
for run in mended stored; do
    if [ -e "$(place "$work/$run")" ] || [ -e "$work/$run/group" ]; then
        fail "nothing is left where they met: $run" "$(ls -d "$(place "$work/$run")" "$work/$run/group")"
    else pass "nothing is left where they met: $run"; fi
done

# --- where they met is left behind by a supervisor that is killed, and removed by the next one, of whatever folder ---
start "$work/killed" --workers 2 train.epochs=100 distributed.pace=0.02
wait_for 60 grep -q "^epoch" "$work/err"
kill -KILL $pid
finish
if [ -d "$(place "$work/killed")" ]; then pass "killed: their place stays"; else fail "killed: their place stays" "it is gone"; fi
start "$work/living" --workers 2 distributed.pace=0.02
wait_for 60 grep -q "^epoch" "$work/err"
bin/train "${tiny[@]}" run.dir="$work/next" train.steps=2 --workers 2 >/dev/null 2>&1
if [ -e "$(place "$work/killed")" ]; then fail "the next one removes it" "it is there"; else pass "the next one removes it"; fi
if [ -d "$(place "$work/living")" ]; then pass "but not that of one that lives"
else fail "but not that of one that lives" "it is gone"; fi
finish
expect "which comes to its end" 0 "done: 24 steps"

# --- Ctrl-C, to all processes at once as a terminal sends it ---
ctrl_c() {
    start "$work/ended" --workers 4 train.epochs=100
    wait_for 60 grep -q "^epoch" "$work/err"
    for _ in $(seq "$1"); do kill -INT -- -$pid; sleep 0.01; done
    finish
    expect "$1 Ctrl-C" 75 "interrupted: saved step "
    same "$1 Ctrl-C: all are gone" "$(in_session $pid)" 0
}
ctrl_c 1
ctrl_c 2
expect "which began where the first had ended" 75 "resumed: step"

# --- the terminal is gone ---
start "$work/hangup" --workers 2 train.epochs=100 distributed.pace=0.02
wait_for 60 grep -q "^epoch" "$work/err"
kill -HUP $pid
finish
expect "a hangup" 75 "interrupted: saved step "

# --- SIGTERM to the workers of a machine of which none writes ---
together=(--workers 1 train.epochs=100 distributed.pace=0.02 distributed.store="file://$work/meet")
start "$work/east" "${together[@]}"
wait_for 60 grep -q "^epoch" "$work/err"
bin/train "${tiny[@]}" run.dir="$work/west" "${together[@]}" run.log=debug >"$work/west.out" 2>"$work/west.err" </dev/null &
west=$!
wait_for 60 grep -q "step [0-9]* in epoch [0-9]* of the group" "$work/west.err"
kill -TERM $west
wait $west
same "SIGTERM to those who do not write" $? 75
same "what is told of them" "$(cut -d " " -f 1-5 "$work/west.out")" "interrupted: the other workers have"
kill -TERM $pid
finish
expect "SIGTERM to the one that does" 75 "interrupted: saved step "

# --- SIGTERM, and the state cannot be saved, as it could when the writer left before ---
# together N: both have been in one group N times
together() { [ "$(grep -c "of the group: worker [01] of 2, after" "$work/err")" -ge $((2 * $1)) ]; }

start "$work/unsaved" --workers 2 run.log=debug train.epochs=1000 train.eval_every=1000 checkpoint.interval=evaluation \
    distributed.pace=0.02
wait_for 60 together 1
for i in 2 3; do # the first child has lived longest
    kill -TERM "$(worker 1)"
    wait_for 60 together $i
done
for i in 1 2; do prlimit --pid "$(worker $i)" --fsize=200000:; done
kill -TERM $pid
finish
expect "SIGTERM, and no room to save" 74 "cannot write: File too large"
same "nothing else is told" "$(grep -c "^interrupted" "$work/out")" 0

# --- one that starts over, where others train ---
start "$work/beside" --workers 2 train.epochs=100 checkpoint.every_steps=1 distributed.pace=0.02
wait_for 60 test -e "$work/beside/last.h5" || fail "others train" "$(tail -n 1 "$work/err")"
train "$work/beside" distributed.store="file://$work/another" --fresh
expect "--fresh where others train" 69 "$work/beside: another process trains in this folder"
train "$work/beside" distributed.store="file://$work/another" --fresh --workers 2
expect "the same with --workers" 69 "another process trains in this folder"
if [ -e "$work/beside/last.h5" ]; then pass "what they have is still there"
else fail "what they have is still there" "$(ls "$work/beside")"; fi
kill -TERM "$pid"
finish
expect "and they go on" 75 "interrupted: saved step "
train "$work/beside" distributed.store="file://$work/another" --fresh train.steps=2
expect "--fresh when they have gone" 0 "done: 2 steps"

# --- a worker that finds no memory, while others have it ---
start "$work/memory" --workers 3 train.epochs=100 distributed.pace=0.02
wait_for 60 grep -q "^epoch" "$work/err"
sleep 2.1 # they have worked for long enough to be believed
room=$(awk '/^VmSize/ { print 1024 * ($2 + 60000) }' /proc/$pid/status)
prlimit --pid $pid --as="$room":
kill -KILL "$(worker 2)"
if wait_for 60 grep -q "ended with 71: starting it again" "$work/err"; then pass "too little memory: tried again"
else fail "too little memory: tried again" "$(tail -n 3 "$work/err")"; fi
prlimit --pid $pid --as=unlimited:
if wait_for 60 grep -q "taking the state after step" "$work/err"; then pass "it came back once there was some"
else fail "it came back once there was some" "$(tail -n 3 "$work/err")"; fi
kill -TERM $pid
finish
expect "and the others went on" 75 "no memory for" "interrupted: saved step"

# --- a worker for which there is no pipe ---
start "$work/files" --workers 2 train.epochs=100 distributed.pace=0.02
wait_for 60 grep -q "^epoch" "$work/err"
prlimit --pid $pid --nofile=3:
kill -KILL "$(worker 2)"
if wait_for 60 grep -q "cannot be started: Too many open files; trying again" "$work/err"; then pass "no files for a worker: tried again"
else fail "no files for a worker: tried again" "$(tail -n 3 "$work/err")"; fi
prlimit --pid $pid --nofile=1024:
if wait_for 60 grep -q "taking the state after step" "$work/err"; then pass "it came back once there were some"
else fail "it came back once there were some" "$(tail -n 3 "$work/err")"; fi
kill -TERM $pid
finish
expect "and the other one went on" 75 "interrupted: saved step"

# --- a full disk ---
if small_disk "a full disk" 100m; then
    fill() { dd if=/dev/zero of="$disk/full" bs=64k 2>/dev/null; }
    has_checkpoint() { ls "$1"/checkpoints/step-*.h5; }

    # they meet in memory: even the writer can go and come, whose number stands in the file that it could not write
    start "$disk/run" --workers 3 checkpoint.every_steps=3 distributed.pace=0.05
    wait_for 60 has_checkpoint "$disk/run"
    fill
    wait_for 60 grep -q "No space left" "$work/err"
    kill -KILL "$(sed -n 's/.*\.h5\.[0-9a-f]*\.\([0-9]*\)\.tmp: cannot write: No space.*/\1/p' "$work/err" | head -n 1)"
    if wait_for 60 grep -q "taking the state after step" "$work/err"; then pass "on a full disk the writer goes, and comes again"
    else fail "on a full disk the writer goes, and comes again" "$(tail -n 3 "$work/err")"; fi
    rm "$disk/full"
    finish
    expect "full for a while" 0 "training goes on" "done: 24 steps"
    same "full for a while: the same bits" "$(hash_of)" "$whole"
    rm -r "$disk/run"

    start "$disk/run" --workers 3 checkpoint.every_steps=3 distributed.pace=0.05
    wait_for 60 has_checkpoint "$disk/run"
    fill
    finish
    expect "full to the end" 74 "training goes on" "step-000000024.h5"
    same "nobody trains it all again" "$(grep -c "^resumed" "$work/out")" 0
    rm "$disk/full"
    train "$disk/run" --workers 3
    expect "full to the end, then room" 0 "resumed: step" "done: 24 steps"
    same "full to the end, then room: the same bits" "$(hash_of)" "$whole"
fi

[ $failures = 0 ]
