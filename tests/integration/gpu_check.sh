# scripts/gpu-check itself, where there is no GPU: all of its parts with sizes that the emulated GPU
# comes to an end with, stand-ins for the driver (tests/fake_libcuda.c), for compute-sanitizer and for
# a Python with PyTorch; and what it says of programs that fail, hang or find a race.
# lane: waiting
# time limit: 600
. tests/lib.sh
unset SG_EMULATION_RECORD # parts of programs are run here, and what is recorded has to be of whole ones

# --- everything that runs on a GPU machine is built, where nvcc is
if [ -e bin/libspotgrad_cuda.so ]; then
    absent=
    for source in tests/test_cuda_*.c tests/test_vendor.c; do
        name=$(basename "$source" .c)
        [ -x "build/release/check/$name" ] || absent+=" $name"
    done
    [ -x build/release/check/bench_ceilings ] || absent+=" bench_ceilings"
    [ ! -e bin/libspotgrad_nccl.so ] || [ -x build/release/check/test_nccl ] || absent+=" test_nccl"
    if [ -z "$absent" ]; then pass "built for a GPU"; else fail "built for a GPU" "not there:$absent"; fi
else
    skip "built for a GPU" "no CUDA plug-in was built"
fi

root=$work/root tools=$work/tools
mkdir -p "$root/bin" "$root/bench" "$tools" "$work/driver" "$work/tmp"
cp -r scripts "$root/"; cp -r configs "$root/"; cp bench/torch_*.py "$root/bench/"
${CC:-cc} -std=c11 -Wall -Wextra -Werror -shared -fPIC tests/fake_libcuda.c -o "$work/driver/libcuda.so.1"
cp bin/spotgrad build/release/emulated/libspotgrad_cuda.so build/release/check/bench_{detector,text_encoder} "$root/bin/"
cp build/release/tests/test_cuda_{device,token_block} "$root/bin/"
for name in train evaluate predict; do ln -s spotgrad "$root/bin/$name"; done
printf '#!/bin/sh\nexec %s "${1:-90}"\n' "$PWD/build/release/tests/test_cuda_ops" >"$root/bin/test_cuda_ops"

# compute-sanitizer: FAKE_RACE makes racecheck find one
cat >"$tools/compute-sanitizer" <<'END'
#!/bin/sh
[ "$1" != --version ] || { echo "a stand-in"; exit; }
kind=$2
case "$*" in *"--target-processes all"*"--kernel-name regex=^_Z"*) ;; *) echo "=========  not what is to be watched"; exit 1 ;; esac
while [ "${1#*/}" = "$1" ]; do shift; done
"$@" || exit
if [ "$kind" = racecheck ] && [ -n "${FAKE_RACE-}" ]; then
    echo "========= Error: Race reported between Write access at somewhere"
    echo "========= RACECHECK SUMMARY: 1 hazard displayed (1 error, 0 warnings)"
    exit 99
fi
[ "$kind" = racecheck ] && echo "========= RACECHECK SUMMARY: 0 hazards displayed" || echo "========= ERROR SUMMARY: 0 errors"
END
# a Python with PyTorch: what it compiles it keeps
cat >"$tools/python" <<'END'
#!/bin/sh
case "$LD_LIBRARY_PATH" in *:*) echo "libraries that are not its own"; exit 1 ;; esac
case "$*" in
    -c*) echo "torch 0.0, a stand-in"; exit ;;
    *--workers\ 16* | *--workers\ [5-9]*) echo "no room left in /dev/shm"; exit 1 ;;
    *--compile*) mkdir -p "$TORCHINDUCTOR_CACHE_DIR"; echo "$*" >>"$TORCHINDUCTOR_CACHE_DIR/kept"; echo "warm step 1" >&2 ;;
esac
echo '{"seconds": [0.5, 0.4], "first": 1.5, "peak_mib": 10, "device_mib": 20, "decoder": "none", "workers": 4}'
END
chmod +x "$tools"/* "$root/bin/test_cuda_ops"

# check [ARGUMENT...]: gpu-check on the emulated GPU
check() {
    run env PATH="$tools:$PATH" TMPDIR="$work/tmp" LD_LIBRARY_PATH="$work/driver" FAKE_CUDA=1 SG_EMULATION_SEED=1 \
        "$root/scripts/gpu-check" --tiny --python "$tools/python" "$@"
}
# says NAME FILE TEXT...
says() {
    local name=$1 file=$2 text

    shift 2
    for text in "$@"; do
        grep -qF -- "$text" "$file" || { fail "$name" "no '$text' in: $(head -c 400 "$file" | tr '\n' ' ')"; return; }
    done
    pass "$name"
}

# --- all parts
out=$work/out1
check --out "$out"
expect "all parts" 0 "# ops took" " 0 failed, "
[ "$status" = 0 ] || grep '^not ok' "$work/out" | sed 's/^/# /'
parts=(here ops nccl runs parity determinism training sanitizer profile speed loader starts checkpoints compile)
says "a section a part" "$out/summary.md" "${parts[@]/#/## }"
if [ "$(ls "$out" | tr '\n' ' ')" = "inductor.tar.gz log.txt results.jsonl summary.md " ]; then pass "four files"
else fail "four files" "$(ls "$out" | tr '\n' ' ')"; fi
says "the summary tells the count" "$out/summary.md" "# gpu-check: $(tail -n 1 "$work/out")"
says "sanitizer: both tools" "$out/summary.md" "memcheck, test_cuda_ops, every 100th case from 5 on **passed**" \
    "racecheck, test_cuda_ops, every 100th case from 0 on **passed**"
says "what is absent is skipped" "$out/summary.md" "NCCL **skipped**" "ceilings **skipped**"
says "runs" "$out/summary.md" "two workers on one GPU **passed**" "masked tokens, gated_cnn, again without CUDA Graphs **passed**"
says "torch.compile, in the background, then timed" "$out/summary.md" "in the background: 3 of 3 modes" \
    "detector, PyTorch, compiled, max-autotune **passed**"
if python3 -c "import json, sys; [json.loads(line) for line in open(sys.argv[1])]" "$out/results.jsonl" 2>"$work/err"; then
    pass "results.jsonl"; else fail "results.jsonl" "$(tail -n 1 "$work/err")"; fi

# --- goes on from an earlier run's
rm -rf "$work/tmp/spotgrad-inductor"
check --out "$work/out2" --inductor "$out/inductor.tar.gz" --only compile --modes default
says "torch.compile goes on" "$work/out2/summary.md" "inductor.tar.gz of an earlier run: unpacked" "default **passed**"
if [ "$(wc -l <"$work/tmp/spotgrad-inductor/kept")" = 14 ]; then pass "with what was compiled"
else fail "with what was compiled" "$(wc -l <"$work/tmp/spotgrad-inductor/kept") lines"; fi

for wrong in "detector --size smal" "detector --steps 1e3" "text_encoder --lengths ful"; do
    run "$root/bin/bench_"$wrong
    expect "bench_$wrong: is not measured" 64 "usage: "
done

# --- what fails is told, what hangs is stopped
cat >"$root/bin/test_cuda_fails" <<'END'
#!/bin/sh
printf '[ RUN      ] a case\nbecause of this\n[  FAILED  ] a case\n[ RUN      ] another\n[       OK ] another\n'
exit 1
END
printf '#!/bin/sh\nsleep 120 &\nsleep 120\n' >"$root/bin/test_cuda_hangs"
printf '#!/bin/sh\nkill -SEGV $$\n' >"$root/bin/test_cuda_crashes"
chmod +x "$root/bin"/test_cuda_{fails,hangs,crashes}
start=$SECONDS
mkdir "$root/lib" # as a bundle has them: what bin's launchers become
cp build/release/tests/test_cuda_nms "$root/lib/"
ln -s ../lib/test_cuda_nms "$root/bin/"
FAKE_RACE=1 check --out "$work/out3" --only sanitizer
expect "a race is found" 1 "not ok - sanitizer: racecheck, test_cuda_ops" "Error: Race reported"
says "of a program, not of its launcher" "$work/out3/log.txt" "_kernel' $root/lib/test_cuda_nms"
rm -r "$root/lib" "$root/bin/test_cuda_nms"
check --out "$work/out3" --only ops,training --minutes 0.45
expect "failures" 1 "not ok - ops: test_cuda_fails: a case: because of this" "not ok - ops: test_cuda_hangs: stopped after" \
    "not ok - ops: test_cuda_crashes: status 139" "skip - training: training: no time left"
says "and in the summary" "$work/out3/summary.md" "* failed: ops: test_cuda_fails: a case" "## training"
if [ $((SECONDS - start)) -le 40 ]; then pass "in time"; else fail "in time" "$((SECONDS - start)) s"; fi
# what hangs is stopped while there is time for what comes after it
check --out "$work/out3" --only ops,determinism --minutes 0.9
expect "a part that hangs" 1 "not ok - ops: test_cuda_hangs: stopped after"
says "costs no other its time" "$work/out3/log.txt" "/det-fp32 "
# the driver shows a GPU with which something is wrong: what that is each part says, too
mkdir "$work/smi"
printf '#!/bin/sh\necho "a stand-in"\n' >"$work/smi/nvidia-smi"
chmod +x "$work/smi/nvidia-smi"
PATH=$work/smi:$PATH SG_EMULATION_LACKS=conv check --out "$work/out3" --only nccl
expect "a GPU that is not usable" 1 "not ok - here: a GPU that can be used: " "a part of it is missing" \
    "skip - nccl: NCCL: its plug-in was not built"

# --- killed: what was known by then is there
env TMPDIR="$work/tmp" LD_LIBRARY_PATH="$work/driver" FAKE_CUDA=1 "$root/scripts/gpu-check" --tiny --out "$work/out4" \
    --python "$tools/python" --only ops >"$work/out" 2>&1 &
pid=$!
for _ in $(seq 200); do grep -q '## ops' "$work/out4/summary.md" 2>/dev/null && break; sleep 0.05; done
kill -TERM $pid; wait $pid
[ $? = 143 ] && pass "stopped" || fail "stopped" "exit status of SIGTERM is not 143"
says "what was known" "$work/out4/summary.md" "so far; not at its end" "## here" "usable: cuda sm_"
run "$root/scripts/gpu-check" --only nothing
expect "no such part" 2 "parts are here, ops"

[ $failures = 0 ]
