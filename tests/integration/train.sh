# A run from outside: the same bits whatever the threads, going on, ending, refusing; then evaluate
# and predict on what it left. Tiny pictures, few steps: this asks for behaviour, not for quality.
. tests/lib.sh

data=$work/data
tiny=(data.root="$data" data.synthetic=20 model.input=64 train.batch=4 train.shards=4
      train.epochs=2 train.warmup=0 train.eval_every=1)

# train FOLDER [ARGUMENT...]
train() {
    local folder=$1

    shift
    run bin/train --config configs/mask-demo.ini run.dir="$folder" "${tiny[@]}" "$@"
}

train "$work/one" train.threads=1
expect "a whole run" 0 "done: 8 steps, 2 epochs" "with_mask" "best so far" "warning: batch norm sees 1 of the pictures"
whole=$(hash_of)
for file in last.h5 best.h5 metrics.jsonl config.ini; do
    if [ -s "$work/one/$file" ]; then pass "leaves $file"; else fail "leaves $file" "missing"; fi
done
same "a line an evaluation" "$(wc -l <"$work/one/metrics.jsonl")" 2

train "$work/pairs" train.batch=8 train.steps=1
expect "shards of two" 0 "done: 1 steps"
same "are not warned of" "$(grep -c "batch norm" "$work/err")" 0
train "$work/two" train.threads=2
same "2 threads: the same bits" "$(hash_of)" "$whole"
train "$work/three" train.threads=4 data.threads=3 data.cache_mb=0
same "other threads and no cache: the same bits" "$(hash_of)" "$whole"
for threads in 1 2; do
    train "$work/native-$threads" run.isa=native train.threads=$threads
    [ $threads = 2 ] || native=$(hash_of)
done
same "run.isa = native, 2 threads: the same bits" "$(hash_of)" "$native"
train "$work/one" train.threads=1
expect "a finished run again" 0 "resumed: step 8 (epoch 2, position 0)" "done: 8 steps, 2 epochs"
same "a finished run again: the same bits" "$(hash_of)" "$whole"
train "$work/one" --fresh
same "--fresh: the same bits" "$(hash_of)" "$whole"
train "$work/seed" run.seed=2
differ "another seed: other bits" "$(hash_of)" "$whole"

# to start from another run: what tells classes apart goes by their names. Three classes in another order
# find the same boxes; one that has another name begins anew, and so do all.
from=(model.init="$work/one/best.h5" train.epochs=1 train.lr=0)
train "$work/init-same" "${from[@]}"
took=$(sed -n 's/.*model.init: took \([0-9]* of [0-9]*\) tensors.*/\1/p' "$work/err")
same "model.init: takes all tensors" "${took% of *}" "${took#* of }"
train "$work/init-moved" "${from[@]}" data.classes=without_mask,mask_weared_incorrect,with_mask
expect "model.init: the same classes, another order" 0 "took $took tensors" "brought into this run's order"
# boxes_of RUN: what it finds, by class
boxes_of() {
    bin/predict --checkpoint "$1" --json predict.score=0.01 predict.max_boxes=20 "$data/images" |
        grep -o '{"class"[^}]*}' | sort
}
same "and the same boxes" "$(boxes_of "$work/init-moved")" "$(boxes_of "$work/init-same")"
sed -i.bak s/mask_weared_incorrect/nose_free/ "$data"/annotations/*.xml
train "$work/init-other" "${from[@]}"
expect "model.init: another class" 0 "what tells classes apart begins anew"
differ "and fewer tensors" "$(grep -o 'took [0-9]* of' "$work/err")" "took ${took% of *} of"
for file in "$data"/annotations/*.bak; do mv "$file" "${file%.bak}"; done

train "$work/parts" train.steps=3
expect "train.steps stops early" 0 "done: 3 steps, 0 epochs"
train "$work/parts"
expect "and goes on" 0 "Ctrl-C saves" "resumed: step 3 (epoch 0, position 12) from $work/parts/checkpoints/step-000000003.h5"
same "3 steps and then the rest: the same bits" "$(hash_of)" "$whole"
same "and the same metrics" "$(cat "$work/parts/metrics.jsonl")" "$(cat "$work/one/metrics.jsonl")"

train "$work/parts" run.log=warn
same "run.log=warn: no more than that" "$(grep -c '^train: ' "$work/err")" "$(grep -c '^train: warning: ' "$work/err")"
train "$work/parts" run.log=error
same "run.log=error: nothing" "$(grep -c '^train: ' "$work/err")" 0

# pictures for people: whole PNGs, the same bytes for any threads and for a run in two parts
plots="confusion.png loss.png metrics.png precision_recall.png predictions.png"
same "plots" "$(echo $(ls "$work/one/plots"))" "$plots"
for file in $plots; do
    if [ "$(head -c 8 "$work/one/plots/$file" | od -An -tx1 | tr -d ' ')" = 89504e470d0a1a0a ] &&
        [ "$(tail -c 8 "$work/one/plots/$file" | od -An -tx1 | tr -d ' ')" = 49454e44ae426082 ]; then
        pass "$file is a PNG"
    else
        fail "$file is a PNG" "other first or last bytes"
    fi
    for other in two parts; do
        if cmp -s "$work/one/plots/$file" "$work/$other/plots/$file"; then pass "$file: run $other"
        else fail "$file: run $other" "other bytes"; fi
    done
done
train "$work/parts" run.plots=false --fresh
if grep -q plots "$work/err"; then fail "without plots" "$(grep plots "$work/err")"
else same "without plots: the same bits" "$(hash_of)" "$whole"; fi
mkdir "$work/noplots"; : >"$work/noplots/plots"
train "$work/noplots"
expect "plots that cannot be written" 0 "is not a folder; run.plots=false does without plots" "done: 8 steps"
same "plots that cannot be written: the same bits" "$(hash_of)" "$whole"

# a validation part in which there is nothing to find: no model of the run is its best
cp -r "$data" "$work/blank"
train "$work/blank-run" data.root="$work/blank" train.steps=3
sed -i '/<object>/,/<\/object>/d' "$work/blank/annotations/val"*.xml
train "$work/blank-run" data.root="$work/blank"
expect "another validation part" 78 "the run began with another data.val than $work/blank now holds; --fresh starts over"
train "$work/blank-run" data.root="$work/blank" train.epochs=3 train.patience=1 --fresh
expect "nothing to find" 0 "done: 12 steps, 3 epochs"
same "no best.h5" "$(cd "$work/blank-run" && echo *.h5)" last.h5
same "and none is said to be" "$(grep -c "best so far" "$work/out")" 0

# signal RUN SIGNAL COMMAND...: a tiny training, started by COMMAND, which gets the signal behind its first step
signal() {
    local dir=$1 number=$2

    shift 2
    : >"$work/err" # the last run's must not be taken for this one's
    "$@" bin/train --config configs/mask-demo.ini run.dir="$dir" "${tiny[@]}" >"$work/out" 2>"$work/err" &
    pid=$!
    for _ in $(seq 1200); do
        grep -q ' step 1/' "$work/err" && break
        sleep 0.05
    done
    kill "-$number" $pid
    status=0; wait $pid || status=$?
}

# saved, 75, and to the same bits
for name in HUP TERM; do
    rm -rf "$work/stopped"
    signal "$work/stopped" $name env --default-signal=$name
    if [ $status = 75 ]; then
        expect "SIG$name" 75 "interrupted: saved step"
        train "$work/stopped"
        expect "after SIG$name" 0 "resumed: step"
    else
        expect "SIG$name came after the end" 0 "done: 8 steps"
    fi
    same "after SIG$name: the same bits" "$(hash_of)" "$whole"
done
same "after SIGTERM: the same metrics" "$(cat "$work/stopped/metrics.jsonl")" \
    "$(cat "$work/one/metrics.jsonl")"
if cmp -s "$work/stopped/plots/loss.png" "$work/one/plots/loss.png"; then pass "and the same plot"
else fail "and the same plot" "loss.png has other bytes"; fi

signal "$work/nohup" HUP nohup
expect "SIGHUP under nohup" 0 "done: 8 steps"

# a picture that turns bad behind its header: what was computed before it is kept
cp -r "$data" "$work/bad"
train "$work/bad-run" data.root="$work/bad" train.steps=3
victim=$(ls -S "$work/bad/images/"train*.png | head -1)
size=$(stat -c %s "$victim")
head -c $((size / 2)) "$victim" >"$work/half"; cp "$work/half" "$victim"
train "$work/bad-run" data.root="$work/bad"
expect "a picture that turned bad" 65 "$victim" "saved step"
cp "$data/images/$(basename "$victim")" "$victim"
train "$work/bad-run" data.root="$work/bad"
expect "after it was mended" 0 "resumed: step" "done: 8 steps, 2 epochs"
same "after it was mended: the same bits" "$(hash_of)" "$whole"

train "$work/one" train.lr=0.5
expect "another learning rate" 78 "train: $work/one/checkpoints/step-000000008.h5: the run began with other values of \
train.lr; --fresh starts over, another run.dir keeps both"
train "$work/one" predict.nms=0.3
expect "other boxes in evaluations" 78 "the run began with other values of predict.nms"
train "$work/one" train.lr=0.5 --workers 2
expect "two workers, another learning rate" 78 "train.lr; --fresh starts over"
same "which one of them says" "$(grep -c 'train.lr; --fresh' "$work/err")" 1
train "$work/met" distributed.store="file://$work/group"
train "$work/met" distributed.store="file://$work/group" --fresh
expect "--fresh where a run has its end" 78 "$work/group: the run that met there is over"
same "which forgets nothing" "$(ls "$work/met/checkpoints" | tail -n 1)" step-000000008.h5
train "$work/met" distributed.store="file://$work/group" --fresh --workers 2
expect "--fresh there with --workers" 78 "$work/group: the run that met there is over"
# another machine: an empty disk, and a store
train "$work/away" checkpoint.store="$work/store" train.steps=5
expect "with a store" 0 "done: 5 steps"
same "the store has the newest" "$(ls "$work/store" | tail -n 1)" step-000000005.h5
rm -r "$work/away"
train "$work/away" checkpoint.store="$work/store"
expect "on an empty disk" 0 "fetched $work/away/checkpoints/step-000000005.h5 from $work/store" \
    "resumed: step 5" "done: 8 steps"
same "on an empty disk: the same bits" "$(hash_of)" "$whole"
train "$work/away" checkpoint.store="$work/store" --fresh train.steps=2
same "--fresh: the store has nothing of before" "$(ls "$work/store" | tail -n 1)" step-000000002.h5
train "$work/away" checkpoint.store="$work/store" --fresh model.init="$work/none.h5"
expect "--fresh, and an end before the first step" 66 "$work/none.h5"
same "the store has nothing either" "$(ls "$work/store" | wc -l)" 0
train "$work/away" checkpoint.store="$work/store" train.steps=2
train "$work/away" checkpoint.store="$work/store" train.steps=3 --fresh --workers 2
expect "--fresh with --workers and a store" 0 "done: 3 steps"
same "begins anew" "$(grep -c "^resumed" "$work/out")" 0
: >"$work/no-store"
train "$work/away" checkpoint.store="$work/no-store" spot.provider=none --fresh
expect_error "--fresh with a store that cannot be emptied" 74 "train: $work/no-store: is not a folder"
same "which forgets nothing here" "$(ls "$work/away/checkpoints" | tail -n 1)" step-000000003.h5
train "$work/away2" checkpoint.store="s3://Bad_Bucket!/x"
expect "a bad store" 78 "s3://"
run bin/train --list run.dir="$work/one"
expect "list" 0 " whole    step-000000008.h5, last.h5" "$work/one: 2 of 2 whole"
mkdir -p "$work/torn/checkpoints"
cp "$work/one/checkpoints/step-000000004.h5" "$work/torn/checkpoints/"
head -c 9000 "$work/one/last.h5" >"$work/torn/checkpoints/step-000000005.h5"
cp "$work/one/last.h5" "$work/torn/checkpoints/step-000000006.h5"
printf X | dd of="$work/torn/checkpoints/step-000000006.h5" bs=1 seek=9000000 conv=notrunc 2>/dev/null
ln -s /nowhere "$work/torn/checkpoints/step-000000007.h5"
run bin/train --list run.dir="$work/torn"
expect "list: a torn file" 0 " damaged  $work/torn/checkpoints/step-000000005.h5: " \
    " unread   $work/torn/checkpoints/step-000000007.h5: cannot open" \
    "$work/torn/checkpoints/step-000000006.h5: the data set /" "$work/torn: 1 of 4 whole"
rm "$work/torn/checkpoints/step-000000007.h5"
train "$work/torn"
expect "the newest whole one is taken" 0 "resumed: step 4" \
    "warning: $work/torn/checkpoints/step-000000006.h5: the data set /" \
    "warning: $work/torn/checkpoints/step-000000005.h5: " "; kept as " "done: 8 steps"
same "after a torn file: the same bits" "$(hash_of)" "$whole"
rm "$work/torn/last.h5" "$work/torn/best.h5" "$work/torn/checkpoints/"*
: >"$work/torn/checkpoints/step-000000008.h5"
run bin/train --list run.dir="$work/torn"
expect "list: nothing whole" 65 "$work/torn: 0 of "
train "$work/torn"
expect "nothing whole" 65 "none of its 1 checkpoints is whole; --fresh starts over"
train "$work/torn"
expect "nothing whole, again" 65 "none of its 1 checkpoints is whole; --fresh starts over"
run bin/train --list run.dir="$work/nowhere"
expect_error "list: no run" 66 "train: $work/nowhere: holds no checkpoint; run.dir=FOLDER names another"
exec 9>"$work/one/lock"; flock 9
train "$work/one"
expect_error "the folder is in use" 69 "train: $work/one: another process trains in this folder; \
choose another run.dir"
train "$work/one" --workers 2 --fresh
expect_error "the folder is in use, --workers" 69 "train: $work/one: another process trains in this folder; \
choose another run.dir"
same "which forgets nothing" "$(ls "$work/one/checkpoints" | tail -n 1)" step-000000008.h5
exec 9>&-
: >"$work/file"
train "$work/file/run"
expect_error "no folder possible" 74 \
    "train: $work/file/run: cannot make the folder: Not a directory"
train "$work/none" data.synthetic=0 data.root="$work/nowhere"
expect "no data" 66 "$work/nowhere"
train "$work/none" data.synthetic_side=159 data.root="$work/nowhere"
expect_error "too small to be drawn" 78 "train: data.synthetic_side: 159 pixels are too few, at least 160"
train "$work/none" data.train=images
expect_error "a folder for a list" 65 "train: $work/data/images: is a folder, not a file"
train "$work/lr" train.lr=10 train.clip_norm=0 train.optimizer=sgd train.epochs=50
expect "diverges" 70 "train.lr"
train "$work/batch" train.batch=6
expect "a batch that cannot be divided" 78 "train.batch" "train.shards"

(ulimit -f 200
 bin/train --config configs/mask-demo.ini run.dir="$work/full" "${tiny[@]}" train.steps=1) \
    >"$work/out" 2>"$work/err"
status=$?
expect "the disk is full" 74 "step-000000001.h5" "training goes on, none was written since the start"
if [ -n "$(find "$work/full" -name "*.h5*")" ]; then fail "no partial file" "$(ls -R "$work/full")"
else pass "no partial file"; fi

run bin/train --config configs/mask-demo.ini "${tiny[@]}" --profile
expect "profile" 0 "GFLOP/s" "conv2d" "onednn" "peaks of one thread, measured: " "roof %" \
    "prologue: " "update: " "% of the roofline" "largest gaps" "by op: conv2d"
same "the profile's parts add up to the step" "$(awk '/ a step$/ { on = 1; next }
    / the whole step:/ { print (sum > $1 - 0.01 && sum < $1 + 0.01 ? "yes" : "no"); exit }
    on { sum += $1 }' "$work/out")" yes
same "the profile fits 100 columns" "$(awk 'length > 100' "$work/out" | wc -l)" 0
if grep -qE '[0-9]{6,}\.[0-9] +[0-9]+ +[a-z]' "$work/out"; then
    fail "believable rates" "$(grep -E '[0-9]{6,}\.[0-9] ' "$work/out" | head -n 1)"
else pass "believable rates"; fi
if grep -q ' ref ' "$work/out"; then fail "no node on the reference" "$(grep ' ref ' "$work/out")"
else pass "no node on the reference"; fi
run bin/train --config configs/mask-demo.ini "${tiny[@]}" --dry-run
expect "dry run" 0 "M parameters" "16 pictures to train on, 4 to validate"
run bin/train --devices; expect "devices" 0 "cpu " "cuda "

# --- evaluate ---
run bin/evaluate --checkpoint "$work/one" --json
expect "evaluate --json" 0 '"mAP50":' '"classes":{"mask_weared_incorrect":{"AP50":' '"count":'
best=$(cat "$work/out")
run bin/evaluate --checkpoint "$work/one/best.h5" train.threads=1 --json
same "evaluate: one thread, the same figures" "$(cat "$work/out")" "$best"
train "$work/untrained" train.steps=1 train.lr=0
run bin/evaluate --checkpoint "$work/untrained" --json
if grep -q '^{"mAP50":0\.0' "$work/out"; then pass "an untrained model scores below 0.1"
else fail "an untrained model scores below 0.1" "$(head -c 100 "$work/out")"; fi
run bin/evaluate --checkpoint "$work/one" --split train; expect "evaluate --split" 0 "all "
run bin/evaluate --checkpoint "$work/one" --split tset
expect_error "evaluate: no such part" 64 \
    "evaluate: --split tset: is none of train, val, test; try \`evaluate --help\`"
run bin/evaluate --checkpoint "$work/nothing"
expect_error "evaluate: no such file" 66 "evaluate: $work/nothing: no such file or folder"
mkdir "$work/empty"
run bin/evaluate --checkpoint "$work/empty"
expect_error "evaluate: an empty folder" 66 \
    "evaluate: $work/empty: holds neither best.h5 nor last.h5"
head -c 5000 "$work/one/best.h5" >"$work/cut.h5"
run bin/evaluate --checkpoint "$work/cut.h5"; expect "evaluate: a damaged file" 65 "$work/cut.h5"
run bin/evaluate --checkpoint "$work/one" data.root="$work/nowhere"
expect "evaluate: no data" 66 "$work/nowhere"

run bin/evaluate --checkpoint "$work/one" data.classes=a,b
expect_error "evaluate: other classes" 78 \
    "evaluate: command line: data.classes: is built into $work/one/best.h5; leave it out"
run bin/evaluate --checkpoint "$work/one" model.size=small
expect_error "evaluate: another size" 78 \
    "evaluate: command line: model.size: is built into $work/one/best.h5; leave it out"
run bin/evaluate --checkpoint "$work/one" model.size=nano model.input=96
expect "evaluate: another input" 0 "all "
run bin/evaluate --checkpoint "$work/one" predict.nms=0.3; expect "evaluate: other boxes" 0 "all "

# --- predict ---
first=$data/images/$(head -1 "$data/val.txt").png
second=$data/images/$(sed -n 2p "$data/val.txt").png
echo "no picture" >"$work/text.png"
run bin/predict --checkpoint "$work/one" "$first" predict.score=0 --json
expect "predict --json" 0 "{\"file\":\"$first\",\"width\":" '"boxes":[{"class":"' '"score":' '"ymax":'
run bin/predict --checkpoint "$work/one" --json "$second" "$work/text.png" "$first" predict.score=0
expect "predict: a bad input among good ones" 65 "\"file\":\"$work/text.png\",\"error\":"
same "predict: answers in order" "$(grep -o '"file":"[^"]*"' "$work/out" | tr '\n' ' ')" \
    "\"file\":\"$second\" \"file\":\"$work/text.png\" \"file\":\"$first\" "
run bin/predict --checkpoint "$work/one" "$data/images" --annotate "$work/drawn"
expect "predict a folder" 0 "$first"
same "draws each" "$(ls "$work/drawn" | wc -l)" "$(ls "$data/images" | wc -l)"
mkdir -p "$work/in/a" "$work/in/b"
cp "$first" "$work/in/a/x.png"; cp "$second" "$work/in/b/x.png"; cp "$first" "$work/in/b/x-2.png"
run bin/predict --checkpoint "$work/one" "$work/in/a" "$work/in/b" --annotate "$work/apart"
expect "predict: inputs of one name" 0 "predict: $work/in/b/x.png: drawn as $work/apart/x-3.png"
same "draws each apart" "$(ls "$work/apart" | tr '\n' ' ')" "x-2.png x-3.png x.png "
run bin/predict --checkpoint "$work/one" "$work/in/a/x.png" --annotate "$work/in/b/../a"
expect "predict: over its own input" 64 "which could be replaced; name another"
if cmp -s "$first" "$work/in/a/x.png"; then pass "leaves the input alone"
else fail "leaves the input alone" "it was replaced"; fi
odd=$(printf 'new\nline\033.png')
cp "$first" "$work/in/$odd"; : >"$work/in/bad$odd"
run bin/predict --checkpoint "$work/one" "$work/in/$odd"
expect "predict: a name of two lines" 0 "$work/in/new\\nline\\x1b.png: "
run bin/predict --checkpoint "$work/one" "$work/in/bad$odd"
expect_error "predict: an error on a name of two lines" 65 \
    "predict: $work/in/badnew?line?.png: is empty (0 bytes), not a picture"
run bin/predict --checkpoint "$work/one" "$work/absent.png"
expect_error "predict: no such file" 65 "predict: $work/absent.png: cannot open: No such file or directory"
mkfifo "$work/pipe" # which nobody opens: whoever reads it waits for ever
round=()
for _ in $(seq 64); do round+=("$first"); done # what is answered together
status=0; timeout 30 bin/predict --checkpoint "$work/one" "${round[@]}" "$work/pipe" >/dev/full 2>"$work/err" || status=$?
: >"$work/out"
expect "predict: ends when its answers cannot be written" 74 "predict: standard output: No space left on device"
run bin/predict --checkpoint "$work/one"
expect_error "predict: nothing asked" 64 \
    "predict: INPUT is missing: a picture, a folder, a text or -; try \`predict --help\`"
run bin/predict --checkpoint "$work/one" "$first" predict.score=2
expect "predict: a threshold out of range" 78 "predict.score"
run bin/predict --checkpoint "$work/one" "$first" --annotate "$work/file/x"
expect "predict: nowhere to draw" 74 "$work/file"
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
    # as a user who may not write: each error is one line that says why
    chmod -R a+rX "$work"
    mkdir "$work/closed"; chmod 755 "$work/closed"
    guest=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    run "${guest[@]}" bin/predict --checkpoint "$work/one" "$data/images" --annotate "$work/closed"
    expect "predict: a read-only folder" 74 "cannot create: Permission denied"
    same "and one line" "$(wc -l <"$work/err")" 1
    run "${guest[@]}" bin/train data.root="$data" run.dir="$work/closed/run" spot.provider=none
    expect_error "train: a read-only folder" 74 \
        "train: $work/closed/run: cannot make the folder: Permission denied"
    chmod 700 "$work/closed"
    run "${guest[@]}" bin/predict --checkpoint "$work/one" "$work/closed"
    expect_error "predict: a folder that cannot be listed" 74 \
        "predict: $work/closed: cannot be listed: Permission denied"
else
    skip "read-only folders" "not root, or no setpriv"
fi

[ $failures = 0 ]
