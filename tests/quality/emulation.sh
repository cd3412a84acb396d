# The emulation of a GPU under ThreadSanitizer and AddressSanitizer: each planted fault is found by
# the tool that is meant for it, the same kernel without the fault passes, and so do all op cases
# under ThreadSanitizer (under AddressSanitizer they are among the unit tests of code.sh).
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
build tsan build/tsan/planted build/tsan/tests/test_cuda_ops

for kernel in missing_syncthreads missing_second_syncthreads missing_syncwarp race_between_blocks \
    read_of_another_block; do
    planted tsan $kernel 'ThreadSanitizer: data race'
done
for kernel in write_past_shared read_past_global; do
    planted asan $kernel 'AddressSanitizer: heap-buffer-overflow'
done
planted release uninitialised_shared 'a NaN'
planted release divergent_barrier 'waits in __syncthreads .*has left the kernel'
planted release barriers_apart 'waits in __syncthreads .*but thread .* waits in __syncthreads'
planted release shuffle_without_lane 'waits in __shfl_xor_sync .*has left the kernel'

if TSAN_OPTIONS=halt_on_error=1 build/tsan/tests/test_cuda_ops >"$work/out" 2>&1; then
    pass "op cases under ThreadSanitizer"
else
    fail "op cases under ThreadSanitizer" \
        "$(grep -E 'WARNING|FAILED|#0|emulation' "$work/out" | head -n 5 | tr '\n' '|')"
fi

[ $failures = 0 ]
