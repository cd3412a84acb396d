# The emulation of a GPU under ThreadSanitizer, AddressSanitizer and MemorySanitizer: each planted
# fault is found by the tool that is meant for it, the same kernel without the fault passes, and so do
# op cases under ThreadSanitizer: every 5th, in two parts, which launch every kernel that the op cases
# have, for all of them take over ten minutes; and every 9th under MemorySanitizer, with NMS and
# the sum of shards. (Augmentation's pictures come from libpng, of which that does not know what it writes. Under
# AddressSanitizer all are among code.sh's unit tests.)
# lane: code
# time limit: 900
. tests/lib.sh
unset MAKEFLAGS MAKELEVEL # of the make that runs this

# build CONFIG TARGET...
build() {
    make CONFIG="$1" "${@:2}" >"$work/out" 2>&1 && return
    fail "emulation: build $1" "make CONFIG=$*: $(tail -n 3 "$work/out" | tr '\n' '|')"
    exit 1
}

# planted CONFIG NAME TEXT: the sound kernel passes, the faulty one is stopped with TEXT.
planted() {
    if ! "build/$1/planted" "$2" >"$work/out" 2>&1; then
        fail "$2, sound, $1" "$(head -c 300 "$work/out" | tr '\n' ' ')"
    elif "build/$1/planted" "$2" fault >"$work/out" 2>&1; then
        fail "$2, planted, $1" "not found"
    elif ! grep -qE "$3" "$work/out"; then
        fail "$2, planted, $1" "no '$3' in: $(head -c 300 "$work/out" | tr '\n' ' ')"
    else
        pass "$2, $1"
    fi
}

build release build/release/planted
build asan build/asan/planted
build tsan build/tsan/planted build/tsan/tests/test_cuda_{ops,device,augment,nms}

for kernel in missing_syncthreads missing_second_syncthreads missing_syncwarp race_between_blocks \
    read_of_another_block; do
    planted tsan $kernel 'ThreadSanitizer: data race'
done
for kernel in write_past_shared read_past_global; do
    planted asan $kernel 'AddressSanitizer: heap-buffer-overflow'
done
planted release uninitialised_shared 'a NaN'
for kernel in uninitialised_shared_integer uninitialised_global_integer; do
    planted release $kernel 'other results on other garbage'
done
# clang's, and of no use to what CI=1 asks of gcc
if echo 'int main() {}' | clang++ -fsanitize=memory -x c++ - -o "$work/empty" 2>/dev/null; then
    record=${SG_EMULATION_RECORD-} # not under MSan: its files are named by a C++ library that it does not know
    unset SG_EMULATION_RECORD
    CI= build msan CC=clang CXX=clang++ build/msan/planted build/msan/tests/test_cuda_{ops,nms,device}
    for kernel in uninitialised_shared uninitialised_shared_integer uninitialised_global_integer; do
        planted msan $kernel 'MemorySanitizer: use-of-uninitialized-value'
    done
    for program in "ops 9" nms device; do
        if build/msan/tests/test_cuda_$program >"$work/out" 2>&1; then
            pass "test_cuda_$program under MemorySanitizer"
        else
            fail "test_cuda_$program under MemorySanitizer" \
                "$(grep -aE 'WARNING|FAILED|#0' "$work/out" | head -n 5 | tr '\n' '|')"
        fi
    done
    [ -z "$record" ] || export SG_EMULATION_RECORD=$record
else
    skip "MemorySanitizer" "no clang++ with its runtime (libclang-rt-14-dev)"
fi
planted release divergent_barrier 'waits in __syncthreads .*has left the kernel'
planted release barriers_apart 'waits in __syncthreads .*but thread .* waits in __syncthreads'
planted release shuffle_without_lane 'waits in __shfl_xor_sync .*has left the kernel'

# under_tsan RECORD NAME [STRIDE FIRST]: a test program, its launches recorded in folder RECORD
under_tsan() {
    local program=build/tsan/tests/test_cuda_$2 out=$work/$1.$2
    local name="$2${3:+, every ${3}th case from $4 on,} under ThreadSanitizer"

    mkdir -p "$work/$1"
    if SG_EMULATION_RECORD=$work/$1 TSAN_OPTIONS=halt_on_error=1 "$program" "${@:3}" >"$out" 2>&1; then
        pass "$name"
    else
        fail "$name" "$(grep -aE 'WARNING|FAILED|#0|emulation' "$out" | head -n 5 | tr '\n' '|')"
    fi
}

# 100 seconds on two processors; CASES of scripts/gpu-check are these
(under_tsan one ops 10 0; under_tsan one augment; exit $failures) &
under_tsan two ops 10 5
under_tsan two nms
under_tsan two device
wait $! || failures=$((failures + 1))

# what the release build's cases launch
full=${SG_EMULATION_RECORD:-$work}/test_cuda_ops
[ -s "$full" ] || { build release build/release/tests/test_cuda_ops
    full=$work/test_cuda_ops; SG_EMULATION_RECORD=$work build/release/tests/test_cuda_ops >"$work/out" 2>&1; }
missing=$(cut -d' ' -f1,2 "$full" | sort -u |
    comm -23 - <(cut -d' ' -f1,2 "$work"/{one,two}/test_cuda_ops | sort -u))
if [ -z "$missing" ]; then
    pass "every kernel of the op cases under ThreadSanitizer"
else
    fail "every kernel of the op cases under ThreadSanitizer" \
        "other parts are needed for: $(echo "$missing" | tr '\n' ',')"
fi

[ $failures = 0 ]
