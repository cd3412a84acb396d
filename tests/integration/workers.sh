# Several workers, some of which die, stop or leave: the short form of `make chaos`'s. docs/elastic.md
# has the long one's figures.
# time limit: 400 s
. tests/lib.sh

python=python3
[ -x .venv/bin/python ] && python=.venv/bin/python
if TMPDIR=$work $python tests/chaos/workers --short --faults 12; then :; else failures=1; fi
if TMPDIR=$work $python tests/chaos/workers --texts --short --faults 12; then :; else failures=1; fi

# as on several machines: processes that cannot share memory, as each sees no other's
store=file://$work/meeting
apart() {
    local i=$1

    shift
    unshare --pid --fork --kill-child bin/train --config configs/mask-demo.ini data.root="$work/data" data.synthetic=20 \
        model.input=64 model.stride=8 train.batch=16 train.shards=8 train.warmup=0 train.epochs=60 train.eval_every=20 \
        run.plots=false run.device=cpu run.log=debug spot.provider=none train.threads=1 run.dir="$work/apart-$i" "$@" \
        >"$work/apart-$i.out" 2>"$work/apart-$i.err"
}
if [ ! -e bin/libspotgrad_gloo.so ]; then
    skip "workers apart, by Gloo" "built without it"
elif ! unshare --pid --fork true 2>/dev/null; then
    skip "workers apart, by Gloo" "no pid namespaces here"
else
    apart alone
    together=(distributed.store="$store" distributed.pace=0.05)
    reached=(127.0.0.1 lo "") # an address, a device, whatever leads out
    for i in 0 1 2; do
        apart $i "${together[@]}" distributed.interface=${reached[$i]} & processes[$i]=$!
    done
    for _ in $(seq 600); do
        if grep -qs "step 10: " "$work/apart-2.err"; then break; fi
        sleep 0.1
    done
    kill -KILL $(children ${processes[0]}) # unshare, and with it the worker
    wait ${processes[0]} 2>/dev/null
    same "apart: worker 0 is killed at work" "$(grep -c "state sha256" "$work/apart-0.out")" 0
    apart 0 "${together[@]}" distributed.interface=${reached[0]} & processes[0]=$!
    for i in 0 1 2; do
        wait ${processes[$i]}
        same "apart, one killed: worker $i ends well" $? 0
        same "apart: the same bits" "$(hash_of "$work/apart-$i.out")" "$(hash_of "$work/apart-alone.out")"
    done
    for i in 0 1 2; do
        same "apart: data of worker $i, reached at '${reached[$i]}', went by Gloo alone" \
            "$(grep -ho "data go by [a-z]*" "$work/apart-$i.err" | sort -u | tr '\n' ' ')" "data go by gloo "
    done
    # a program without its plug-in: no supervisor is to try that again
    mkdir "$work/bare"; cp bin/spotgrad "$work/bare/"
    for i in 0 1; do
        unshare --pid --fork --kill-child "$work/bare/spotgrad" train --config configs/mask-demo.ini \
            data.root="$work/data" model.input=64 train.batch=16 train.shards=8 run.plots=false run.device=cpu \
            spot.provider=none run.dir="$work/bare-$i" distributed.store="file://$work/bare-meeting" \
            distributed.interface=127.0.0.1 distributed.min_workers=2 >"$work/bare-$i.out" 2>"$work/bare-$i.err" &
        processes[$i]=$!
    done
    wait -n "${processes[0]}" "${processes[1]}"
    same "without Gloo's plug-in: 78" $? 78
    for i in 0 1; do kill -KILL $(children ${processes[$i]}); wait ${processes[$i]}; done 2>/dev/null
    same "which says what to install" "$(grep -hc "libspotgrad_gloo.so is not there.*install libgloo-dev" \
        "$work"/bare-[01].err | sort -n | tail -n 1)" 1
fi

[ $failures = 0 ]
