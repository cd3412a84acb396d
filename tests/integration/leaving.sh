# Workers of a group, each with a folder of its own as on machines of their own: whoever is told to go finishes the
# step, and whoever is the last that has the state saves it.
# lane: waiting
. tests/lib.sh

tiny=(--config configs/mask-demo.ini data.synthetic=40 data.root="$work/data" model.input=64 model.stride=8 train.batch=16
      train.shards=8 train.warmup=0 train.epochs=100000 train.eval_every=100000 run.plots=false run.device=cpu
      run.log=debug spot.provider=none train.threads=1 data.threads=1 distributed.interface=127.0.0.1)
bin/train "${tiny[@]}" run.dir="$work/drawn" train.steps=1 >/dev/null 2>&1

# start CASE ARGUMENT...: two workers, a and b, in folders of that name; $first is of rank 0, $other the other one; to
# each its ${own[a]}, ${own[b]}
start() {
    local at=$work/$1 i

    shift
    mkdir "$at"
    for i in a b; do
        bin/train "${tiny[@]}" run.dir="$at/$i" distributed.store="file://$at/group" "$@" ${own[$i]:-} \
            >"$at/$i.out" 2>"$at/$i.err" &
        process[$i]=$!
    done
    wait_for 60 "of the group: worker . of 2" "$at/a.err" && wait_for 60 "of the group: worker . of 2" "$at/b.err"
    first=a other=b
    if grep -q "of the group: worker 0 of 2" "$at/b.err"; then first=b other=a; fi
}
# wait_for SECONDS PATTERN FILE
wait_for() {
    for _ in $(seq $((50 * $1))); do
        if grep -qs -- "$2" "$3"; then return 0; fi
        sleep 0.02
    done
    return 1
}
steps() { grep -c "step [0-9]* in epoch" "$1"; }
last_step() { sed -n 's/.*: step \([0-9]*\) in epoch.*/\1/p' "$1" | tail -n 1; }
newest() { bin/train "${tiny[@]}" run.dir="$1" --list 2>/dev/null | grep -o "step-[0-9]*" | sort | tail -n 1; }
declare -A process own

# --- the other one is killed, and fewer than min_workers are left: the state is nowhere else ---
for way in wait SIGTERM; do
    at=$work/last-$way
    start last-$way distributed.pace=0.02 distributed.min_workers=2 distributed.wait="$([ $way = wait ] && echo 2 || echo 60)"
    wait_for 60 "step 20 in epoch" "$at/$other.err"
    kill -KILL "${process[$first]}"
    wait "${process[$first]}" 2>/dev/null
    if [ $way = SIGTERM ]; then sleep 1.8; kill -TERM "${process[$other]}"; fi
    wait "${process[$other]}"
    same "the last, $way: its status" $? "$([ $way = wait ] && echo 69 || echo 75)"
    step=$(last_step "$at/$other.err")
    same "the last, $way: what it had finished is in its folder" "$(newest "$at/$other")" "$(printf "step-%09d" "$step")"
    if grep -qs "saved step $step" "$at/$other.err" "$at/$other.out"; then pass "the last, $way: says so"
    else fail "the last, $way: says so" "$(tail -n 2 "$at/$other.err" "$at/$other.out")"; fi
done

# --- SIGTERM in a step of 0.8 s: it is finished, and nobody makes it again ---
for who in other first; do
    at=$work/leave-$who
    start leave-$who distributed.pace=0.2
    if [ $who = first ]; then leaver=$first stayer=$other; else leaver=$other stayer=$first; fi
    wait_for 60 "step 3 in epoch" "$at/$leaver.err"
    before=$(last_step "$at/$leaver.err")
    kill -TERM "${process[$leaver]}"
    wait "${process[$leaver]}"
    same "$who leaves: its status" $? 75
    after=$(last_step "$at/$leaver.err")
    if [ "$after" -gt "$before" ]; then pass "$who leaves: the step under way is finished"
    else fail "$who leaves: the step under way is finished" "step $after, as when the signal came"; fi
    said="the other workers have"
    [ $who = first ] && said=saved
    same "$who leaves: says what became of it" "$(tail -n 1 "$at/$leaver.out")" "interrupted: $said step $after"
    wait_for 20 "step $((after + 1)) in epoch [0-9]* of the group: positions $((16 * after))+16" "$at/$stayer.err"
    same "$who leaves: the other one goes on alone behind it" $? 0
    kill -KILL "${process[$stayer]}"
    wait "${process[$stayer]}" 2>/dev/null
done

# --- SIGTERM to one that is done, and waits for a store that takes nothing ---
at=$work/stuck
mkdir -p "$at/store/step-000000003.h5"
bin/train "${tiny[@]}" run.dir="$at/run" checkpoint.store="$at/store" train.steps=3 >"$at/out" 2>"$at/err" &
process[a]=$!
wait_for 60 "cannot be copied to the store" "$at/err"
kill -TERM "${process[a]}"
for _ in $(seq 200); do if ! kill -0 "${process[a]}" 2>/dev/null; then break; fi; sleep 0.1; done
kill -KILL "${process[a]}" 2>/dev/null
wait "${process[a]}"
same "a store that takes nothing: its status" $? 75
same "a store that takes nothing: says what became of it" "$(cat "$at/out")" "interrupted: saved step 3"

# --- SIGTERM to one that waits for a slow one: within 20 s, a writer 5 s, what they exchange is given up ---
at=$work/slow
own[b]=distributed.pace=15
start slow
own[b]=
run timeout 60 bin/train "${tiny[@]}" run.dir="$at/c" distributed.store="file://$at/group" train.steps=7
expect "one that would end at another step" 78 "train with other values of train.steps"
kill -TERM "${process[a]}"
begun=$SECONDS
wait "${process[a]}"
same "beside a slow one: its status" $? 75
if [ $((SECONDS - begun)) -le 30 ]; then pass "beside a slow one: it leaves in time"
else fail "beside a slow one: it leaves in time" "after $((SECONDS - begun)) s"; fi
kill -KILL "${process[b]}"
wait "${process[b]}" 2>/dev/null

# --- Azure's notice to one that does not write: once the others have its state the machine may go ---
. tests/metadata.sh
at=$work/azure
tell '{"cloud": "azure"}' >/dev/null
start azure distributed.pace=0.1
bin/train "${tiny[@]}" run.dir="$at/c" distributed.store="file://$at/group" distributed.pace=0.1 \
    spot.provider=azure spot.endpoint="$endpoint" >"$at/c.out" 2>"$at/c.err" &
process[c]=$!
wait_for 60 "notices of an interruption are heard" "$at/c.err"
wait_for 60 "step [0-9]* in epoch" "$at/c.err"
tell '{"events": [{"EventId": "A-1", "EventType": "Preempt", "ResourceType": "VirtualMachine", "Resources": ["train-7"],
    "EventStatus": "Scheduled", "NotBefore": ""}]}' >/dev/null
wait "${process[c]}"
same "Azure: its status" $? 75
same "Azure: it leaves" "$(tail -n 1 "$at/c.out" | cut -d " " -f 1-5)" "interrupted: the other workers have"
case $(tell) in
    *'"acknowledged": ["A-1"]'*) pass "Azure: is told that the machine may go" ;;
    *) fail "Azure: is told that the machine may go" "$(tell)" ;;
esac
kill -KILL "${process[a]}" "${process[b]}"
wait "${process[a]}" "${process[b]}" 2>/dev/null
exec 8>&-

# --- the writer is killed behind the only evaluation: where is the best one? ---
for where in store nowhere; do
    at=$work/best-$where
    given=()
    [ $where = store ] && given=(checkpoint.store="$at/store")
    start best-$where distributed.pace=0.02 train.eval_every=12 train.steps=45 "${given[@]}"
    wait_for 60 "step 30 in epoch" "$at/$first.err"
    if [ $where = store ]; then
        for _ in $(seq 500); do if [ -e "$at/store/best.h5" ]; then break; fi; sleep 0.02; done
    fi
    kill -KILL "${process[$first]}"
    wait "${process[$first]}" 2>/dev/null
    wait "${process[$other]}"
    same "best, $where: the other one comes to the end" $? 0
    bin/evaluate --checkpoint "$at/$other" data.root="$work/data" >"$at/out" 2>"$at/err"
    same "best, $where: and can be evaluated" $? 0
    if [ $where = store ]; then
        if cmp "$at/$first/best.h5" "$at/$other/best.h5"; then pass "best, $where: it has the best one"
        else fail "best, $where: it has the best one" "$(ls "$at/$other" "$at/store")"; fi
        same "best, $where: nothing is missed" "$(grep -c "best.h5" "$at/err")" 0
    else
        if grep -qs "best.h5 is not that of step 24" "$at/$other.err"; then pass "best, $where: is told at the end"
        else fail "best, $where: is told at the end" "$(tail -n 3 "$at/$other.err")"; fi
        if grep -qs "has no best.h5 of step 24, .* is .*/last.h5, of step 45" "$at/err"; then pass "best, $where: is told whoever asks for it"
        else fail "best, $where: is told whoever asks for it" "$(cat "$at/err")"; fi
    fi
done

# --- the other one takes over on a disk that is full by then ---
if small_disk "taking over on a full disk" 100m; then
    at=$work/full
    own[a]=run.dir=$disk/a own[b]=run.dir=$disk/b
    start full distributed.pace=0.02
    own=()
    wait_for 60 "step 10 in epoch" "$at/$other.err"
    dd if=/dev/zero of="$disk/full" bs=64k 2>/dev/null
    kill -KILL "${process[$first]}"
    wait "${process[$first]}" 2>/dev/null
    wait_for 60 "of the group: worker 0 of 1" "$at/$other.err"
    wait_for 60 "step $(($(last_step "$at/$other.err") + 10)) in epoch" "$at/$other.err"
    same "taking over on a full disk: it goes on" $? 0
    rm "$disk/full"
    kill -TERM "${process[$other]}"
    wait "${process[$other]}"
    same "taking over on a full disk: its status, once there is room" $? 75
    same "taking over on a full disk: nothing is lost" "$(newest "$disk/$other")" \
        "$(printf "step-%09d" "$(last_step "$at/$other.err")")"
fi

[ $failures = 0 ]
