# The keys of src/core/keys.def: each has a reader, and each that varies pictures changes the result.
. tests/lib.sh

# a reader takes the field of a configuration; messages that name a key are none
unread=
keys=$(sed -n 's/^SG_KEY_[A-Z]*(\([a-z]*\), \([a-z0-9_]*\),.*/\1.\2/p' src/core/keys.def)
for key in $keys; do
    grep -rqE --include='*.[ch]' "(->|[A-Za-z]\.)${key/./\\.}\b" src || unread="$unread $key"
done
same "keys are found" "$(echo "$keys" | wc -l)" "$(grep -c '^SG_KEY' src/core/keys.def)"
if [ -z "$unread" ]; then pass "each has a reader"; else fail "each has a reader" "none of:$unread"; fi

# train NAME [ARGUMENT...]
train() {
    run bin/train --config configs/mask-demo.ini run.dir="$work/run-$1" data.root="$work/data" data.synthetic=20 \
        data.synthetic_side=160 data.mosaic=0.5 data.close_mosaic=1 model.input=64 train.batch=4 train.shards=4 \
        train.epochs=2 train.warmup=0 train.eval_every=2 run.plots=false run.device=cpu "${@:2}"
}
train none
expect "the defaults" 0 "done: 8 steps"
whole=$(hash_of)
train again data.brightness=0.05 data.value=0.3
same "the defaults, told: the same bits" "$(hash_of)" "$whole"
for key in $(sed -n 's/^SG_KEY_FLOAT(data, \([a-z_]*\),.*/\1/p' src/core/keys.def) close_mosaic; do
    train "$key" "data.$key=0"
    differ "data.$key=0: other bits" "$(hash_of)" "$whole"
done

[ $failures = 0 ]
