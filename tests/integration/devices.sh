#!/usr/bin/env bash
# `train --devices`: what there is and why it cannot be used, with a stand-in for NVIDIA's driver.
. tests/lib.sh

mkdir "$work/driver" "$work/bin" "$work/empty"
${CC:-cc} -std=c11 -Wall -Wextra -Werror -shared -fPIC tests/fake_libcuda.c -o "$work/driver/libcuda.so.1"
cp bin/spotgrad "$work/bin/spotgrad"
ln -s spotgrad "$work/bin/train"

with_driver() { run env LD_LIBRARY_PATH="$work/driver" FAKE_CUDA="$1" "$work/bin/train" --devices; }

run bin/train --devices
all=$(grep -o "^cpu *[0-9]* processors" "$work/out")
for bound in OMP_PROC_BIND=true OMP_PLACES=cores GOMP_CPU_AFFINITY=0-1; do
    run env $bound bin/train --devices
    same "$bound is about others' threads" "$(grep -o "^cpu *[0-9]* processors" "$work/out")" "$all"
done

with_driver 2
expect "two GPUs" 0 "cpu " "cuda:0  Fake GPU 10, compute capability 9.0, 132 multiprocessors, 80.0 GiB" \
    "cuda:1  Fake GPU 11" "the driver serves CUDA 13.0"
expect "no plug-in beside the program" 0 "cuda    not usable: $work/bin/libspotgrad_cuda.so is not there"
with_driver 0
expect "a driver and no GPU" 0 "cuda    not usable: the driver sees no GPU"
with_driver -803
expect "a driver that fails" 0 "cuInit failed: system has unsupported display driver" "(803)"
with_driver -999
expect "an error without a name" 0 "cuInit failed: unknown error (999)"

echo "no library" >"$work/bin/libspotgrad_cuda.so"
with_driver 1
expect "a damaged plug-in" 0 "cuda    not usable: cannot be loaded: " "libspotgrad_cuda.so"
if [ -f bin/libspotgrad_cuda.so ]; then
    cp bin/libspotgrad_cuda.so "$work/bin/libspotgrad_cuda.so"
    with_driver 1
    expect "the plug-in loads" 0 "libspotgrad_cuda.so loads"
    FAKE_CUDA_VERSION=12040 with_driver 1
    expect "a driver too old for it" 0 "the driver serves CUDA 12.4" \
        "cuda:0  not usable: run.device=cuda:0: the driver serves CUDA 12.4, the plug-in needs 13." "driver 580 or later"
else
    skip "the plug-in loads" "it was not built: no nvcc, cuBLASLt or cuDNN here"
fi

echo "no library" >"$work/empty/libcuda.so.1"
run env LD_LIBRARY_PATH="$work/empty" "$work/bin/train" --devices
expect "a damaged driver" 0 "cuda    not usable: no NVIDIA driver on this machine"
${CC:-cc} -shared -fPIC -x c /dev/null -o "$work/empty/libcuda.so.1"
run env LD_LIBRARY_PATH="$work/empty" "$work/bin/train" --devices
expect "another library under its name" 0 "libcuda.so.1 is not NVIDIA's driver"
exit $((failures > 0))
