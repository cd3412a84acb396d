#!/usr/bin/env bash
# Runs on a GPU from outside, where there is none: the real programs with the emulated backend as
# their plug-in (build/release/emulated) and a stand-in for the driver. Slow, so pictures are tiny
# and steps few: this asks for behaviour, not for quality.
. tests/lib.sh

emulated=build/release/emulated/libspotgrad_cuda.so
mkdir "$work/bin" "$work/driver" "$work/bare"
${CC:-cc} -std=c11 -Wall -Wextra -Werror -shared -fPIC tests/fake_libcuda.c -o "$work/driver/libcuda.so.1"
for place in bin bare; do
    cp bin/spotgrad "$work/$place/spotgrad"
    for name in train evaluate predict; do ln -s spotgrad "$work/$place/$name"; done
done
cp $emulated "$work/bin/"
data=$work/data
tiny=(data.root="$data" data.synthetic=20 model.input=64 model.stride=8 train.batch=2 train.shards=2
      train.epochs=1 train.steps=4 train.warmup=0 train.eval_every=1 run.plots=false)

# on PLACE PROGRAM [ARGUMENT...]: with the driver
on() {
    local place=$1 program=$2

    shift 2
    run env LD_LIBRARY_PATH="$work/driver" FAKE_CUDA="${gpus:-1}" "${extra[@]}" "$work/$place/$program" "$@"
}
extra=(SG_EMULATION_SEED=1)

# train FOLDER [ARGUMENT...], on the emulated GPU unless an argument says otherwise
train() {
    local folder=$1

    shift
    on bin train --config configs/mask-demo.ini run.dir="$folder" "${tiny[@]}" run.device=cuda \
        train.precision=fp32 "$@"
}

# --- what is missing ---
run bin/train --config configs/mask-demo.ini "${tiny[@]}" run.dir="$work/none" run.device=cuda
expect "no driver" 69 "train: run.device=cuda: no NVIDIA driver on this machine"
run bin/train --config configs/mask-demo.ini "${tiny[@]}" run.dir="$work/none" train.precision=bf16
expect "bf16 on a CPU" 78 "train: train.precision=bf16: a CPU computes in fp32 here"
run bin/train --config configs/mask-demo.ini "${tiny[@]}" run.dir="$work/none" run.device=gpu
expect "no such device" 78 "run.device: 'gpu' is none of auto, cpu, cuda, cuda:N"
run bin/train --config configs/mask-demo.ini "${tiny[@]}" run.dir="$work/cpu"
expect "auto without a driver" 0 "train: cpu avx2"
if grep -q "run.device" "$work/err"; then fail "and silently" "$(grep run.device "$work/err")"
else pass "and silently"; fi
cp -r "$work/cpu" "$work/cpu-began"
on bare train --config configs/mask-demo.ini "${tiny[@]}" run.dir="$work/none" train.steps=1
expect "auto with a driver and no plug-in" 0 "train: cpu avx2" \
    "run.device=auto: the CPU, as the GPU cannot be used: $work/bare/libspotgrad_cuda.so is not there"
on bare train --config configs/mask-demo.ini "${tiny[@]}" run.dir="$work/none" run.device=cuda
expect "cuda with a driver and no plug-in" 69 \
    "train: run.device=cuda: $work/bare/libspotgrad_cuda.so is not there"
echo 'const char *const sg_cuda_plugin = "0.0.9";' >"$work/other.c" # a table begins with it
${CC:-cc} -shared -fPIC "$work/other.c" -o "$work/bare/libspotgrad_cuda.so"
on bare train --config configs/mask-demo.ini "${tiny[@]}" run.dir="$work/none" run.device=cuda
expect "a plug-in of another version" 69 "is of version 0.0.9, this program of"
same "and one line says it" "$(grep -c version "$work/err")" 1
gpus=0 on bin train --config configs/mask-demo.ini "${tiny[@]}" run.dir="$work/none" run.device=cuda
expect "a driver that sees no GPU" 69 "train: run.device=cuda: the driver sees no GPU"
train "$work/none" run.device=cuda:5
expect "a GPU too many" 69 "train: run.device=cuda:5: there is no GPU 5: the driver sees 1"
on bin train --devices
expect "devices" 0 "cuda:0  usable: cuda sm_"
for part in conv matmul; do
    extra=(SG_EMULATION_LACKS=$part)
    on bin train --devices
    expect "a library without what $part needs" 0 "cuda:0  not usable: stand-in: a part of it is missing"
done
too_old="the driver serves CUDA 12.9, the plug-in needs 13.0: driver 580 or later"
extra=(FAKE_CUDA_VERSION=12090)
on bin train --devices
expect "devices, with a driver that is too old" 0 "cuda:0  not usable: run.device=cuda:0: $too_old"
train "$work/none"
expect "a driver that is too old" 69 "train: run.device=cuda: $too_old"
on bin train --config configs/mask-demo.ini "${tiny[@]}" run.dir="$work/too-old" train.steps=1
expect "auto with a driver that is too old" 0 "run.device=auto: the CPU, as the GPU cannot be used: $too_old"
extra=(FAKE_CUDA_VERSION=14000)
on bin train --devices
expect "a driver of the next CUDA" 0 "cuda:0  usable: cuda sm_"
extra=(SG_EMULATION_SEED=1)

# --- the same bits ---
train "$work/one"
expect "a run" 0 "cuda:0, Fake GPU 10: cuda sm_00 0 MP stand-in fp32" "done: 4 steps"
whole=$(hash_of)
extra=(SG_EMULATION_SEED=8 SG_EMULATION_STREAMS=random)
train "$work/two" checkpoint.every_steps=1
expect "again: threads in another order, other garbage, streams by chance, a checkpoint every step" 0 "done: 4 steps"
same "again: the same bits" "$(hash_of)" "$whole"
train "$work/uncached" data.cache_mb=0 data.threads=3
expect "every picture decoded and brought anew" 0 "done: 4 steps"
same "brought anew: the same bits" "$(hash_of)" "$whole"
extra=(SG_EMULATION_SEED=1 SG_EMULATION_GUARD=1)
train "$work/guarded" checkpoint.every_steps=1
expect "the host leaves the device's memory alone" 0 "done: 4 steps"
same "and gets the same bits" "$(hash_of)" "$whole"
extra=(SG_EMULATION_SEED=1)
train "$work/parts" train.steps=1
train "$work/parts" train.steps=3
expect "in parts" 0 "resumed: step 1"
train "$work/parts"
expect "the last part" 0 "resumed: step 3"
same "in parts: the same bits" "$(hash_of)" "$whole"
env LD_LIBRARY_PATH="$work/driver" FAKE_CUDA=1 SG_EMULATION_SEED=3 SG_EMULATION_STREAMS=random "$work/bin/train" --config configs/mask-demo.ini \
    run.dir="$work/killed" "${tiny[@]}" run.device=cuda train.precision=fp32 \
    checkpoint.every_steps=1 >"$work/out" 2>"$work/err" &
pid=$!
for _ in $(seq 1200); do
    [ -e "$work/killed/last.h5" ] && break
    sleep 0.05
done
kill -KILL $pid; wait $pid 2>/dev/null
train "$work/killed"
expect "killed" 0 "resumed: step"
same "killed: the same bits" "$(hash_of)" "$whole"
for text in "cuda sm_00 0 MP stand-in fp32" "conv2d_dw x 1,"; do
    if grep -aqF "$text" "$work/one/last.h5"; then pass "the checkpoint tells \"$text\""
    else fail "the checkpoint tells \"$text\"" "it does not"; fi
done
# Snapshots, whatever order the streams run in: seeds 1 and 5 are of those that found the steps'
# copies and kernels wrong when one of their waits for each other was left out.
tensors() { h5dump -g /parameters -g /ema "$1" | tail -n +2; }
snapshots() {
    train "$work/snapshots-$1" train.batch=1 train.shards=1 train.steps=6 checkpoint.every_steps=1 \
        checkpoint.keep_last=9
    expect "snapshots $1" 0 "done: 6 steps"
}
if command -v h5dump >/dev/null; then
    extra=(SG_EMULATION_SEED=1); snapshots 0
    for seed in 1 5; do
        extra=(SG_EMULATION_SEED=$seed SG_EMULATION_STREAMS=random); snapshots $seed
        different= compared=0
        for file in "$work/snapshots-$seed/checkpoints/"*.h5; do # a newer one may have taken another one's place
            other=$work/snapshots-0/checkpoints/${file##*/}
            [ -e "$other" ] || continue
            tensors "$file" >"$work/these"; tensors "$other" >"$work/those"
            grep -q DATA "$work/these" && cmp -s "$work/these" "$work/those" || different+=" ${file##*/}"
            compared=$((compared + 1))
        done
        if [ $compared -ge 2 ] && [ -z "$different" ]; then pass "snapshots, streams in the order of seed $seed"
        else fail "snapshots, streams in the order of seed $seed" "of $compared differ:$different"; fi
    done
    extra=(SG_EMULATION_SEED=1)
else
    skip "snapshots, streams in any order" "there is no h5dump"
fi
loss_of() { grep -o '"loss":[0-9.]*' "$1/metrics.jsonl" | tail -n 1 | cut -d: -f2; }
train "$work/epoch" train.steps=0 data.synthetic=20 train.batch=4
run bin/train --config configs/mask-demo.ini "${tiny[@]}" run.dir="$work/epoch-cpu" train.steps=0 train.batch=4
same "the loss is near the CPU's" "$(awk -v a="$(loss_of "$work/epoch")" -v b="$(loss_of "$work/epoch-cpu")" \
    'BEGIN { print (a > 0 && b > 0 && a / b > 0.98 && a / b < 1.02) ? "near" : a " and " b }')" near
on bin train --config configs/mask-demo.ini "${tiny[@]}" run.dir="$work/bf16" train.steps=2
expect "auto on a GPU" 0 "train.precision=auto: bf16 on this GPU" "stand-in bf16" "done: 2 steps"

train "$work/none" --profile
expect "profile" 0 "cuda:0, Fake GPU 10: one shard of 1 pictures, of 2" "stand-in" "detect_assign" \
    "the whole step, recorded, none ahead of it" "its shards' nodes, each alone"
same "a profile tells no CPU's roofline" "$(grep -c 'peaks of one thread\|largest gaps' "$work/out")" 0
same "the profile's nodes add up" "$(awk '/^ *[0-9.]+ +100.0 / && !/step/ { all = $1 } / nodes, each/ { print ($1 > 1.9 * all && $1 < 2.1 * all && all > 0) ? "yes" : $1 " of " all }' "$work/out")" yes

# --- elsewhere ---
cp -r "$work/parts" "$work/moved"; cp -r "$work/parts" "$work/fp32"
run bin/train --config configs/mask-demo.ini "${tiny[@]}" run.dir="$work/moved" train.steps=5
expect "GPU -> CPU" 69 "was computed on \"cuda sm_00 0 MP stand-in fp32\", here is \"cpu avx2" \
    "run.exact=false goes on all the same"
run bin/train --config configs/mask-demo.ini "${tiny[@]}" run.dir="$work/moved" train.steps=5 run.exact=false
expect "GPU -> CPU, run.exact=false" 0 "not to the same bits" "resumed: step 4" "done: 5 steps"
on bin train --config configs/mask-demo.ini "${tiny[@]}" run.dir="$work/moved" train.steps=6
expect "auto stays on the CPU" 0 "train: cpu avx2" "resumed: step 5" "done: 6 steps"
train "$work/moved" train.steps=7
expect "CPU -> GPU" 69 "here is \"cuda sm_00 0 MP stand-in fp32\""
train "$work/moved" train.steps=7 run.exact=false
expect "CPU -> GPU, run.exact=false" 0 "not to the same bits" "done: 7 steps"
train "$work/fp32" train.steps=5 train.precision=bf16
expect "another precision" 69 "fp32\", here is \"cuda sm_00 0 MP stand-in bf16\""
on bin train --config configs/mask-demo.ini "${tiny[@]}" run.dir="$work/fp32" train.steps=5
expect "auto keeps the precision" 0 "stand-in fp32" "done: 5 steps"

# --- failures ---
extra=(SG_EMULATION_MEMORY=37000000)
train "$work/full" train.batch=16
expect "out of memory" 71 "no device memory for" "MiB asked for" "would fit"
fits=$(grep -o 'train.batch=[0-9]* would fit' "$work/err" | grep -o '[0-9]*')
train "$work/full" train.batch="${fits:-16}" train.steps=1
expect "the batch that would fit does" 0 "done: 1 steps"
train "$work/full" train.batch=256 --fresh
expect "out of memory, and where" 71 "activations, most of them at " "MiB asked for" "MiB in all"
extra=(SG_EMULATION_MEMORY=49000000)
train "$work/full-later" train.batch=16 train.steps=1
expect "no room for an evaluation" 71 "no device memory for a model's " "MiB in all: train.batch=" "leaves room for it"
fits=$(grep -o 'train.batch=[0-9]* leaves' "$work/err" | grep -o '[0-9]*')
train "$work/full-fits" train.batch="${fits:-16}" train.steps=0
expect "the batch that leaves room does" 0 "AP50" "done: "
extra=(SG_EMULATION_MEMORY=9500000)
on bin evaluate --checkpoint "$work/epoch" run.device=cuda
expect "evaluate: no room for the model" 71 "most of them at " "in all: run.device=cpu does without"
extra=(SG_EMULATION_MEMORY=12000000)
on bin evaluate --checkpoint "$work/epoch" run.device=cuda
expect "evaluate: no room for its parameters" 71 "no device memory for a model's parameters: " \
    "in all: run.device=cpu does without"
extra=(SG_EMULATION_MEMORY=3000000)
train "$work/full" --fresh
expect "nothing would fit" 71 "no device memory for"
extra=(SG_EMULATION_MEMORY=16)
on bin train --config configs/mask-demo.ini "${tiny[@]}" run.dir="$work/full-auto"
expect "auto, and the GPU is full" 71 "run.device=auto: there is a GPU, but not enough memory: " "MiB asked for"
extra=(SG_EMULATION_LOST=30)
train "$work/lost" train.steps=0 train.epochs=3 checkpoint.every_steps=1
expect "a lost device" 69 "the device is lost" "before the end"
extra=(SG_EMULATION_SEED=1)
train "$work/lost" train.steps=4
expect "after a lost device" 78 # another number of epochs is another run
train "$work/lost" train.steps=4 train.epochs=3
expect "it goes on from what was saved" 0 "resumed: step"
train "$work/far" train.lr=10 train.clip_norm=0 train.optimizer=sgd train.epochs=50 train.steps=40 \
    checkpoint.every_steps=1
expect "diverges" 70 "train.lr"

# --- evaluate and predict ---
on bin evaluate --checkpoint "$work/epoch" run.device=cuda --json
expect "evaluate" 0 '"mAP50":'
cp "$work/out" "$work/on-cuda"
extra=(SG_EMULATION_SEED=1 SG_EMULATION_GUARD=1)
on bin evaluate --checkpoint "$work/epoch" --json
extra=(SG_EMULATION_SEED=1)
same "evaluate: auto is where it was trained" "$(cat "$work/out")" "$(cat "$work/on-cuda")"
run bin/evaluate --checkpoint "$work/epoch" --json
expect "evaluate on a CPU what a GPU trained" 0 '"mAP50":'
picture=$data/images/$(head -1 "$data/val.txt").png
extra=(SG_EMULATION_SEED=1 SG_EMULATION_GUARD=1)
on bin predict --checkpoint "$work/epoch" "$picture" "$data/images/$(sed -n 2p "$data/val.txt").png" \
    run.device=cuda predict.score=0 --json
expect "predict" 0 '"boxes":[{"class":"'
extra=(SG_EMULATION_SEED=1)
run bin/predict --checkpoint "$work/epoch" "$picture" run.device=cuda
expect "predict without a driver" 69 "predict: run.device=cuda: no NVIDIA driver"

# --- texts: tables of rows, a transformer, batches of several shapes ---
mkdir "$work/texts"
printf '0\tbad\n1\tgood\n' >"$work/texts/mapping.txt"
for part in train val; do
    for i in $(seq 24); do
        if [ $((i % 2)) = 0 ]; then words="a good day in may"; else words="a bad night, so bad"; fi
        printf '%s%.*s\n' "$words" $((i % 7 * 9)) " and then nothing that anybody would have called an event"
    done >"$work/texts/${part}_text.txt"
    for i in $(seq 24); do echo $(((i + 1) % 2)); done >"$work/texts/${part}_labels.txt"
done
messages=(model.type=text_classifier data.root="$work/texts" model.bag=6 model.layers=1 model.width=16 model.heads=2
          text.buckets=499 text.subwords=280 text.features=128 train.batch=4 train.shards=2 train.epochs=1
          run.plots=false run.device=cuda train.precision=fp32)
on bin train "${messages[@]}" run.dir="$work/t1"
expect "texts" 0 "cuda sm_00 0 MP stand-in fp32" "done: 6 steps"
whole=$(hash_of)
extra=(SG_EMULATION_SEED=5 SG_EMULATION_STREAMS=random SG_EMULATION_GUARD=1)
on bin train "${messages[@]}" run.dir="$work/t2" checkpoint.every_steps=1 train.steps=2
on bin train "${messages[@]}" run.dir="$work/t2" checkpoint.every_steps=1
expect "texts, in parts, other garbage, streams by chance" 0 "resumed: step 2" "done: 6 steps"
same "texts: the same bits" "$(hash_of)" "$whole"
extra=(SG_EMULATION_SEED=1 SG_CUDA_GRAPH=0)
on bin train "${messages[@]}" run.dir="$work/t3"
same "texts, without recordings: the same bits" "$(hash_of)" "$whole"
extra=(SG_EMULATION_SEED=1)
on bin predict --checkpoint "$work/t1" run.device=cuda "a good day" --json
expect "predict a text" 0 '"label":"'
cp "$work/out" "$work/on-cuda"
run bin/predict --checkpoint "$work/t1" run.device=cpu "a good day" --json
near() { tr ',:}' '\n' <"$1" | awk '/^[0-9.]+$/ { printf "%.4f ", $1 }'; }
same "a CPU's probabilities" "$(near "$work/out")" "$(near "$work/on-cuda")"

run bin/train "${messages[@]}" run.dir="$work/wide" model.width=256 run.device=cpu
extra=(SG_EMULATION_SEED=1 SG_EMULATION_MEMORY=20000000) # six copies of its parameters take 29 MB
on bin predict --checkpoint "$work/wide" run.device=cuda train.precision=fp32 "a good day"
expect "predict a text: one copy of the parameters for all shapes" 0 "a good day"
extra=(SG_EMULATION_SEED=1)

# --- both encoders, learning from masked tokens; a classifier begins with what was learned ---
figures() { tr ',:}' '\n' <"$1" | awk '/^[0-9.]+$/ { printf "%.4g ", $1 }'; }
for encoder in "model.encoder=transformer model.heads=2" "model.encoder=gated_cnn model.kernel=5"; do
    read -ra encoder <<<"$encoder model.layers=1 model.width=16 text.subwords=280 model.dropout=0.1"
    kind=${encoder[0]#*=}
    masked=(model.type=masked_tokens data.root="$work/texts" "${encoder[@]}" train.batch=4 train.shards=2 train.epochs=1
            run.plots=false run.device=cuda train.precision=fp32)
    extra=(SG_EMULATION_SEED=1)
    on bin train "${masked[@]}" run.dir="$work/m-$kind"
    expect "masked tokens, $kind" 0 "cuda sm_00 0 MP stand-in fp32" "masked subwords of 24 texts" "done: 6 steps"
    whole=$(hash_of)
    extra=(SG_EMULATION_SEED=5 SG_EMULATION_STREAMS=random)
    on bin train "${masked[@]}" run.dir="$work/n-$kind" checkpoint.every_steps=1 train.steps=2
    on bin train "${masked[@]}" run.dir="$work/n-$kind" checkpoint.every_steps=1
    expect "masked tokens, $kind, in parts, other garbage, streams by chance" 0 "resumed: step 2" "done: 6 steps"
    same "masked tokens, $kind: the same bits" "$(hash_of)" "$whole"
    extra=(SG_EMULATION_SEED=1)
    on bin evaluate --checkpoint "$work/m-$kind" run.device=cuda --json
    expect "masked tokens, $kind: evaluate" 0 '"metric":"probability"'
    cp "$work/out" "$work/on-cuda"
    run bin/evaluate --checkpoint "$work/m-$kind" run.device=cpu --json
    same "masked tokens, $kind: a CPU's figures" "$(figures "$work/out")" "$(figures "$work/on-cuda")"
    on bin train "${messages[@]}" model.wide=false model.bag=0 "${encoder[@]}" model.init="$work/m-$kind/last.h5" run.dir="$work/f-$kind"
    expect "masked tokens, $kind: a classifier begins with them" 0 "model.init: took " "done: 6 steps"
done

# --- several workers ---
extra=(SG_EMULATION_SEED=1)
team=(train.batch=3 train.shards=3 train.steps=2)
train "$work/lone" "${team[@]}"
whole=$(hash_of)
extra=(SG_EMULATION_SEED=2 SG_EMULATION_STREAMS=random)
gpus=2 train "$work/team" "${team[@]}" --workers 2
expect "2 workers on 2 GPUs" 0 "cuda sm_00 0 MP stand-in" "done: 2 steps"
same "2 workers: the same bits" "$(hash_of)" "$whole"
extra=(SG_EMULATION_LOST=15) # of all, also of those that do not write
gpus=2 train "$work/team-lost" train.steps=0 train.epochs=9 --workers 2
expect "2 workers whose devices are lost" 69 "the device is lost"
same "2 workers whose devices are lost: none dies of it" "$(grep -c "was killed" "$work/err")" 0
extra=(SG_EMULATION_SEED=1)
on bin train "${messages[@]}" "${encoder[@]}" train.steps=3 run.dir="$work/texts-lone"
whole=$(hash_of)
on bin train "${messages[@]}" "${encoder[@]}" train.steps=3 run.dir="$work/texts-team" --workers 2
expect "texts: 2 workers on one GPU" 0 "done: 3 steps"
same "texts: 2 workers, the same bits" "$(hash_of)" "$whole"

[ $failures = 0 ]
