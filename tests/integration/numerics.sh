# The bits of two short trainings, which change only on purpose: then SG_CPU_NUMERICS of src/cpu/cpu.h is raised by one,
# so that workers and checkpoints of before are told apart, and what is said here is written down below. They depend on
# the libraries too: on others than these nothing is known.
. tests/lib.sh

libraries="oneDNN 2.6.3 OpenBLAS 0.3.21, glibc 2.36"
known_numerics=1
known_pictures=7d88d57ca3f1151a2031c09c9f49cb3846c2b1cbcfa00f4dbb44aabd57e13a13
known_texts=4d5552d13dfd0c501ec47222b7a78d435f34ec83cc98b8104e11edbbbc017511

here() {
    echo "$(grep -o "oneDNN [0-9.]*\( OpenBLAS [0-9.]*\)\?" "$work/err" | head -n 1), glibc $(getconf GNU_LIBC_VERSION | cut -d " " -f 2)"
}
# train NAME KNOWN ARGUMENT...
train() {
    local name=$1 known=$2

    shift 2
    run bin/train "$@" run.dir="$work/$name" run.device=cpu run.plots=false spot.provider=none train.threads=1
    expect "$name: trains" 0 "state sha256: "
    case $(here) in
        "$libraries" | "${libraries/ OpenBLAS*,/,}") ;;
        *) skip "$name: the known bits" "known with $libraries, here is $(here)"; return ;;
    esac
    if [ "$(hash_of)" = "$known" ] && grep -qF "numerics $known_numerics," "$work/err"; then pass "$name: the known bits"
    else fail "$name: the known bits" "$(hash_of), $(grep -o "numerics [0-9]*" "$work/err" | head -n 1); see the top of $0"; fi
}

train pictures "$known_pictures" --config configs/mask-demo.ini data.synthetic=20 data.root="$work/data" \
    model.input=64 model.stride=8 train.batch=16 train.shards=4 train.steps=4 train.warmup=0
mkdir "$work/texts"
for part in train val; do
    for i in $(seq 24); do echo "a good or bad day, number $i, and on$((i * i))"; done >"$work/texts/${part}_text.txt"
    for i in $(seq 24); do echo $((i % 2)); done >"$work/texts/${part}_labels.txt"
done
printf '0\tgood\n1\tbad\n' >"$work/texts/mapping.txt"
train texts "$known_texts" --config configs/sms.ini data.root="$work/texts" model.bag=32 model.layers=2 model.width=64 \
    model.heads=4 text.buckets=20011 text.subwords=300 train.lr=0.001 train.batch=16 train.shards=4 train.steps=4 train.warmup=0

[ $failures = 0 ]
