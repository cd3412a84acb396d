# `export` from outside: what it refuses, what it leaves when it fails or is ended, what goes beside
# the file. tests/integration/export.py asks what the files answer.
. tests/lib.sh

python=python3
[ -x .venv/bin/python ] && python=.venv/bin/python
export PYTHONDONTWRITEBYTECODE=1
out=$work/model.onnx
# is NAME COMMAND...
is() { local name=$1; shift; if "$@"; then pass "$name"; else fail "$name" "it is not so"; fi; }
# export_model ARGUMENT...
export_model() { run bin/export --checkpoint "$work/masks" --output "$out" "$@"; }

# --- models -------------------------------------------------------------------------------------
mkdir "$work/place" "$work/texts"
for part in train val; do
    for i in $(seq 80); do
        if [ $((i % 2)) = 0 ]; then echo "so happy about number $i" >&3; echo 1 >&4
        else echo "the lonely rain of day $i" >&3; echo 0 >&4; fi
    done 3>"$work/texts/${part}_text.txt" 4>"$work/texts/${part}_labels.txt"
done
printf '0\tsad\n1\tgood\n' >"$work/texts/mapping.txt"
quiet=(run.plots=false spot.provider=none train.warmup=0)
run bin/train --config configs/mask-demo.ini run.dir="$work/masks" data.root="$work/drawn" data.synthetic=20 \
    data.synthetic_side=160 model.input=64 model.stride=8 train.batch=4 train.shards=2 train.epochs=1 \
    train.eval_every=1 "${quiet[@]}"
expect "a detector" 0 "done:"
text() { run bin/train --config configs/sms.ini data.root="$work/texts" train.epochs=1 "${quiet[@]}" "$@"; }
text run.dir="$work/ngrams" text.buckets=4096
expect "a model of n-grams" 0 "done:"
text run.dir="$work/cnn" model.wide=false model.encoder=gated_cnn model.layers=1 model.width=16 text.subwords=280
expect "a model with an encoder" 0 "done:"
run bin/train --config configs/tweets-mlm.ini data.root="$work/texts" data.task= run.dir="$work/masked" model.layers=1 \
    model.width=16 model.heads=2 text.subwords=280 train.epochs=1 "${quiet[@]}"
expect "a model of hidden subwords" 0 "done:"

# --- what it refuses ----------------------------------------------------------------------------
best=$work/masks/best.h5
run bin/export --output "$out"
expect_error "no checkpoint" 64 "export: --checkpoint FILE|RUN is missing; try \`export --help\`"
run bin/export --checkpoint "$best"
expect_error "no output" 64 "export: --output FILE.onnx is missing; try \`export --help\`"
run bin/export --checkpoint "$work/none" --output "$out"
expect_error "no such checkpoint" 66 "export: $work/none: no such file or folder"
run bin/export --checkpoint "$work/texts" --output "$out"
expect_error "a folder that is no run" 66 "export: $work/texts: holds neither best.h5 nor last.h5"
run bin/export --checkpoint "$work/texts/mapping.txt" --output "$out"
expect_error "another file" 65 "export: $work/texts/mapping.txt: is not an HDF5 file, so not a model"
mkfifo "$work/pipe"
run bin/export --checkpoint "$work/pipe" --output "$out"
expect_error "a pipe" 65 "export: $work/pipe: is a pipe or a device, not a file"
run bin/export --checkpoint "$work/masked" --output "$out"
expect "a model that answers nothing" 78 "$work/masked/best.h5: is a model of type masked_tokens, which answers nothing"
run bin/export --checkpoint "$work/ngrams" --output "$out" --nms
expect_error "--nms of texts" 64 "export: --nms is for detectors, and $work/ngrams/best.h5 classifies texts"
run bin/export --checkpoint "$work/ngrams" --output "$out" --int8 data.root="$work/none"
expect "--int8 of n-grams alone, before data is read" 64 "export: $work/ngrams/best.h5: is a model of n-grams alone"
export_model model.size=small
expect_error "what is built in" 78 "export: command line: model.size: is built into $best; leave it out"
export_model --int8 data.val=none.txt
expect_error "--int8 without data.val" 66 "export: $work/drawn/none.txt: no such list; write it, a picture's name a line, or set data.train and data.val"

cp "$best" "$work/damaged.h5"
size=$(stat -c %s "$best")
printf 'damage' | dd of="$work/damaged.h5" bs=1 seek=$((size / 6)) conv=notrunc 2>/dev/null
run bin/export --checkpoint "$work/damaged.h5" --output "$out"
expect "a damaged checkpoint" 65 "export: $work/damaged.h5: the data set "
head -c $((size / 3)) "$best" >"$work/cut.h5"
run bin/export --checkpoint "$work/cut.h5" --output "$out"
expect "a checkpoint that is cut off" 65 "export: $work/cut.h5: is cut off or damaged"
is "nothing is written by all of these" [ ! -e "$out" ]

run bin/export --checkpoint "$best" --output "$best"
expect "the checkpoint as output" 64 "--output $best: is the checkpoint itself"
run bin/export --checkpoint "$best" --output "$work/ngrams/last.h5"
expect "another checkpoint as output" 64 "--output $work/ngrams/last.h5: is an HDF5 file"
run bin/export --checkpoint "$best" --output "$work"
expect "a folder as output" 64 "--output $work: is a folder"
run bin/export --checkpoint "$best" --output "$work/pipe"
expect "a pipe as output" 64 "--output $work/pipe: is a pipe or a device"
run bin/export --checkpoint "$best" --output /dev/full
expect "a device as output" 64 "--output /dev/full: is a pipe or a device"
run timeout 5 bin/export --checkpoint "$best" --output "$work/none/model.onnx" --int8
expect_error "an output in no folder, before any work" 74 \
    "export: $work/none/model.onnx: cannot create: No such file or directory"
export_model --test-vector "$work/texts/mapping.txt"
expect "a file as --test-vector" 64 "--test-vector $work/texts/mapping.txt: is a file"
export_model --test-vector /proc/none/vector
expect "a --test-vector that cannot be made" 74 "export: /proc/none: cannot create"
is "nothing is written by these" [ ! -e "$out" ]

# --- a full disk --------------------------------------------------------------------------------
if small_disk "a full disk" 1m; then
    echo old >"$disk/model.onnx"
    run bin/export --checkpoint "$best" --output "$disk/model.onnx"
    expect_error "a full disk" 74 "export: $disk/model.onnx: cannot write: No space left on device"
    same "a full disk: the old file is kept, and nothing else" "$(ls -A "$disk"):$(cat "$disk/model.onnx")" \
        "model.onnx:old"
fi

# --- what is told -------------------------------------------------------------------------------
export_model
expect "checked on data.val" 0 "bytes, checked against our own engine on samples of data.val"
cp "$out" "$work/first.onnx"
export_model data.root="$work/none"
expect "checked without data" 0 "on made-up samples (data.val: $work/none: no such folder; set data.root=FOLDER)"
export_model data.val=none.txt
expect "checked with broken data" 0 "on made-up samples (data.val: $work/drawn/none.txt: no such list"
is "the same bytes, whatever it was checked on" cmp -s "$out" "$work/first.onnx"
export_model --no-verify
expect "--no-verify" 0 "bytes, not checked"
is "--no-verify: the same bytes" cmp -s "$out" "$work/first.onnx"
export_model --nms predict.score=0.99
expect "no box to compare" 0 "in which it finds no box: raw outputs were compared, too"
export_model --int8
expect "--int8" 0 "int8: mAP50 " "warning: int8 is calibrated on 16 samples, all that data.train has" \
    "in floats checked against our own engine on samples of data.val; in int8 it answers alike"
export_model --int8 --nms predict.score=0.99
expect "--int8, and no box to compare" 0 "; in int8 no box was sure enough to be compared"
nothing=$(head -1 "$work/drawn/val.txt")
cp "$work/drawn/images/$nothing.png" "$work/drawn/images/nothing.png"
sed '/<object>/,/<\/object>/d' "$work/drawn/annotations/$nothing.xml" >"$work/drawn/annotations/nothing.xml"
echo nothing >"$work/drawn/nothing.txt"
export_model --int8 data.val=nothing.txt
expect "--int8, and nothing to find" 0 "warning: what int8 loses cannot be told: mAP50 needs something to find"
is "--int8, and nothing to find: its metadata are JSON" grep -qaF '"mAP50":null,"before":null}' "$out"
export_model --nms model.input=640 predict.score=0.001 predict.max_boxes=10000 --test-vector "$work/many"
expect "more boxes than are looked at" 0 "checked against our own engine"
cp "$out" "$work/many.onnx"

# --- another checkpoint meanwhile, and the end meanwhile ------------------------------------------
# two models of one shape, each in turn a new file, as fast as they can
run bin/train --config configs/mask-demo.ini run.dir="$work/other" data.root="$work/drawn" data.synthetic=20 \
    data.synthetic_side=160 model.input=64 model.stride=8 train.batch=4 train.shards=2 train.epochs=1 \
    train.eval_every=1 run.seed=7 "${quiet[@]}"
expect "another detector" 0 "done:"
run bin/export --checkpoint "$work/other" --output "$work/second.onnx"
mkdir "$work/changing"
cp "$best" "$work/changing/a"; cp "$work/other/best.h5" "$work/changing/b"
cp "$work/changing/a" "$work/changing/best.h5"
(
    trap - EXIT
    while :; do
        for k in b a; do cp "$work/changing/$k" "$work/changing/new"; mv "$work/changing/new" "$work/changing/best.h5"; done
    done
) 2>/dev/null &
changing=$!
mixed= refused=0
for i in $(seq 15); do
    run bin/export --checkpoint "$work/changing" --output "$out"
    if [ "$status" = 0 ]; then cmp -s "$out" "$work/first.onnx" || cmp -s "$out" "$work/second.onnx" || mixed+=" $i"
    elif [ "$status:$(cat "$work/err")" = "69:export: $work/changing/best.h5: was replaced meanwhile; export again, or name a checkpoint that stays, such as a copy" ]; then refused=$((refused + 1))
    else mixed+=" $i:$(cat "$work/err")"; fi
done
kill $changing; wait $changing 2>/dev/null
same "a run that goes on: of one checkpoint, or refused" "none$mixed" none
is "and some were refused" [ $refused != 0 ]

# SIGINT, which a shell's background commands are deaf to
cat >"$work/ended.py" <<'END'
import os, signal, subprocess, sys, time
command, folder, want = ["bin/export", "--checkpoint", sys.argv[1], "--output", sys.argv[2] + "/model.onnx"], sys.argv[2], open(sys.argv[3], "rb").read()
start = lambda: subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
began = time.monotonic()
assert start().wait() == 0
lasts, n, ended, bad = time.monotonic() - began, 40, 0, set()
for i in range(n):
    if os.path.exists(command[-1]):
        os.remove(command[-1])
    process = start()
    time.sleep(1.2 * lasts * (i + 1) / n)
    process.send_signal(signal.SIGINT if i % 2 else signal.SIGTERM)
    ended += process.wait() < 0
    names = os.listdir(folder)
    if names not in ([], ["model.onnx"]) or (names and open(command[-1], "rb").read() != want):
        bad.update(names)
print("ended %d times, left: %s" % (ended, sorted(bad) or "nothing"))
sys.exit(bool(bad) or ended < n / 4)
END
run $python "$work/ended.py" "$best" "$work/place" "$work/first.onnx"
expect "ended at any time: the whole file or nothing" 0 "left: nothing"
rm -f "$work/place/model.onnx"

# --- the CPU, wherever it was trained -------------------------------------------------------------
emulated=build/release/emulated/libspotgrad_cuda.so
mkdir "$work/bin" "$work/driver"
if [ -e $emulated ] && ${CC:-cc} -std=c11 -shared -fPIC tests/fake_libcuda.c -o "$work/driver/libcuda.so.1"; then
    cp bin/spotgrad $emulated "$work/bin"
    run env LD_LIBRARY_PATH="$work/driver" FAKE_CUDA=1 SG_EMULATION_SEED=1 "$work/bin/spotgrad" evaluate \
        --checkpoint "$best" run.device=cuda train.precision=bf16
    expect "evaluate: on a GPU, in bf16" 0
    run env LD_LIBRARY_PATH="$work/driver" FAKE_CUDA=1 SG_EMULATION_SEED=1 "$work/bin/spotgrad" export \
        --checkpoint "$best" --output "$out" run.device=cuda train.precision=bf16
    expect "with a GPU, in bf16: the graph is right" 0 "checked against our own engine on samples of data.val"
    is "with a GPU: the same bytes" cmp -s "$out" "$work/first.onnx"
else
    skip "with a GPU" "no emulated backend (make check builds it)"
fi

# --- the test vector ------------------------------------------------------------------------------
files() { (cd "$1" && echo *); }
export_model --test-vector "$work/new/raw"
same "a detector's test vector" "$(files "$work/new/raw")" \
    "boxes_0.pb boxes_1.pb input_0.pb output_0.pb picture_0.png picture_1.png"
cp "$out" "$work/raw.onnx"
export_model --nms --preprocess predict.score=0.01 --test-vector "$work/new/pictures"
same "of --preprocess, whose pictures are no batch" "$(files "$work/new/pictures")" \
    "boxes_0.pb input_0.pb output_0.pb picture_0.png"
cp "$out" "$work/pictures.onnx"
for way in "raw" "nms --nms" "rawpic --preprocess" "pictures --nms --preprocess"; do
    set -- $way; name=int8-$1; shift
    export_model --int8 predict.score=0.01 --test-vector "$work/new/$name" "$@"
    cp "$out" "$work/$name.onnx"
done
run bin/export --checkpoint "$work/cnn" --output "$work/cnn.onnx" --int8 --test-vector "$work/new/cnn"
expect "an encoder in int8" 0 "in int8 it answers alike"
same "a text classifier's test vector" "$(files "$work/new/cnn")" \
    "answers.jsonl input_0.pb input_1.pb output_0.pb output_1.pb"
cat >"$work/vector.py" <<'END'
"""Whether a runtime answers as test vectors say: NAME MODEL FOLDER BOUND, and as many more."""
import json, sys
import numpy, onnx, onnxruntime
from onnx import numpy_helper
def read(path):
    with open(path, "rb") as file:
        t = onnx.TensorProto.FromString(file.read())
    return t.name, numpy_helper.to_array(t)
def overlap(a, b):
    w, h = (numpy.minimum(a[..., i + 2], b[..., i + 2]) - numpy.maximum(a[..., i], b[..., i]) for i in (0, 1))
    both = w.clip(0) * h.clip(0)
    area = lambda r: (r[..., 2] - r[..., 0]) * (r[..., 3] - r[..., 1])
    return both / (area(a) + area(b) - both + 1e-9)
def share(a, b):
    """Of rows a, how many have their like in b."""
    like = lambda r: ((b[:, 5] == r[5]) & (abs(b[:, 4] - r[4]) < 2e-3) & (overlap(b[:, :4], r[:4]) > 0.95)).any()
    return sum(map(like, a)) / max(1, len(a))
bad = []
for name, model, folder, bound in zip(*[iter(sys.argv[1:])] * 4):
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    feed = dict(read("%s/input_%d.pb" % (folder, i)) for i in range(len(session.get_inputs())))
    for i, got in enumerate(session.run(None, feed)):
        _, want = read("%s/output_%d.pb" % (folder, i))
        if got.shape != want.shape:
            bad.append((name, got.shape, want.shape))
        elif want.ndim == 3 and want.shape[2] == 6:  # boxes: those near a threshold may differ
            for g, w in zip(got, want):
                g, w = g[g[:, 4] > 0], w[w[:, 4] > 0]
                if not (len(w) > 0 and min(share(g, w), share(w, g)) > float(bound)):
                    bad.append((name, len(g), len(w), share(g, w), share(w, g)))
        elif not abs(got - want).max() <= float(bound) * abs(want).max():
            bad.append((name, float(abs(got - want).max()), float(abs(want).max())))
print(onnxruntime.__version__, bad or "all alike")
sys.exit(bool(bad))
END
cat >"$work/own.py" <<'END'
"""What boxes_I.pb and the raw output of a vector have to do with each other, and norms: MODEL..."""
import json, sys
import onnx
from onnx import numpy_helper
work = sys.argv[1]
read = lambda path: numpy_helper.to_array(onnx.TensorProto.FromString(open(path, "rb").read()))
for model in ("raw", "pictures", "int8-raw", "int8-pictures", "cnn"):
    kinds = {node.op_type for node in onnx.load("%s/%s.onnx" % (work, model)).graph.node}
    assert "BatchNormalization" not in kinds, model
for name in ("pictures", "int8-pictures"):  # boxes in the picture's pixels are the graph's rows
    rows, boxes = read("%s/new/%s/output_0.pb" % (work, name))[0], read("%s/new/%s/boxes_0.pb" % (work, name))
    assert len(boxes) > 0 and abs(rows[:len(boxes)] - boxes).max() < 1e-3 and (rows[len(boxes):] == 0).all(), name
a, b = (read("%s/new/%s/boxes_0.pb" % (work, name)) for name in ("int8-nms", "int8-raw"))
assert len(a) == len(b) > 0 and abs(a - b).max() < 1e-3, (a.shape, b.shape)  # one graph's, both ways
assert abs(read(work + "/new/int8-raw/output_0.pb") - read(work + "/new/raw/output_0.pb")).max() > 1e-4  # its own
for line in open(work + "/new/cnn/answers.jsonl"):
    json.loads(line)
print("so it is")
END
if $python -c 'import numpy, onnx, onnxruntime' 2>/dev/null; then
    vectors=(raw "$work/raw.onnx" "$work/new/raw" 1e-4 pictures "$work/pictures.onnx" "$work/new/pictures" 0.97
        many "$work/many.onnx" "$work/many" 0.99 int8 "$work/int8-raw.onnx" "$work/new/int8-raw" 0.05
        cnn "$work/cnn.onnx" "$work/new/cnn" 0.05)
    run $python "$work/vector.py" "${vectors[@]}"
    expect "test vectors, the newest onnxruntime: its answers" 0 "all alike"
    if [ -d .venv/oldest ]; then
        run env PYTHONPATH="$PWD/.venv/oldest" $python "$work/vector.py" "${vectors[@]}"
        expect "test vectors, the oldest onnxruntime: its answers" 0 "all alike"
    else
        skip "test vectors, the oldest onnxruntime" "no .venv/oldest (scripts/setup test)"
    fi
    run $python "$work/own.py" "$work"
    expect "test vectors are of the graph beside them, and no norm is in it" 0 "so it is"
else
    skip "test vectors" "no Python packages (scripts/setup test)"
fi

[ $failures = 0 ]
