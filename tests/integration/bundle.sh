# The bundle: a folder that is moved, linked to and called from elsewhere, with the host's C library
# and with its own, and in a root folder where nothing else is. scripts/bundle-check goes through
# other distributions.
# time limit: 600
. tests/lib.sh
unset MAKEFLAGS MAKELEVEL # of the make that runs this
command -v dpkg-query >/dev/null || { skip "bundle" "made of Debian's packages"; exit 0; }

bundle="$work/a folder: moved/spotgrad"
mounted=
finish() {
    [ -z "$mounted" ] || umount "$mounted"
    rm -rf --one-file-system "$work"
}
trap finish EXIT

mkdir -p "$work/made/spotgrad/lib" "$(dirname "$bundle")"
make build/release/bundle/spotgrad >"$work/out" 2>&1 || { fail "links" "$(tail -n 3 "$work/out")"; exit 1; }
strip -o "$work/made/spotgrad/lib/spotgrad" build/release/bundle/spotgrad
[ ! -f bin/libspotgrad_cuda.so ] || cp bin/libspotgrad_cuda.so "$work/made/spotgrad/lib/"
run scripts/bundle "$work/made/spotgrad"
expect "made" 0 "with the host's C library from glibc 2."
lacks=
for page in README.md docs/*.md datasets/README.md; do
    for file in $(grep -oE '\]\([^)#]*' $page | sed 's/^](//' | grep -v '^http' | sort -u); do
        [ -e "$work/made/spotgrad/$(dirname $page)/$file" ] || lacks="$lacks $file"
    done
done
for file in $(grep -ohE '\b(scripts/(launch/[a-z@.-]*[a-z]|import-masks|tweeteval)|examples/[a-z_]*\.(c|py)|configs/[a-z-]*\.ini)' \
    README.md docs/*.md datasets/README.md | sort -u); do
    [ -e "$work/made/spotgrad/$file" ] || lacks="$lacks $file"
done
if [ -z "$lacks" ]; then pass "has what its pages speak of"; else fail "has what its pages speak of" "lacks$lacks"; fi
same "no data" "$(ls "$work/made/spotgrad/datasets")" README.md
run "$work/made/spotgrad/scripts/import-masks" "$work/none.zip" "$work/imported"
expect "import-masks runs" 66 "none.zip"
for i in 1 2; do
    XZ_LEVEL=-0 run scripts/bundle "$work/made/spotgrad" "$work/$i.tar.xz"
    expect "packed, time $i" 0 "bundle: $work/$i.tar.xz: "
done
if cmp -s "$work/1.tar.xz" "$work/2.tar.xz"; then pass "the same bytes"; else fail "the same bytes" "they differ"; fi
rm "$work"/[12].tar.xz
mv "$work/made/spotgrad" "$bundle"
ln -s "$bundle/bin/train" "$work/train"

tiny=(--config "$bundle/configs/mask-demo.ini" data.root="$work/data" data.synthetic=20 model.input=64
      train.batch=4 train.shards=4 train.eval_every=1000 run.plots=false train.steps=3)
run bin/train "${tiny[@]}" run.dir="$work/here"
expect "without the bundle" 0 "done: 3 steps"
here=$(hash_of)

for libc in host own; do
    export SPOTGRAD_LIBC=$libc
    run env -C / "$work/train" "${tiny[@]}" run.dir="$work/$libc"
    if [ "$libc" = own ]; then # a path in a list of paths
        expect "own C library: no ':' in the folder's name" 69 "move the folder"
        mv "$work/a folder: moved" "$work/a folder, moved"
        bundle="$work/a folder, moved/spotgrad"
        tiny[1]="$bundle/configs/mask-demo.ini"
        ln -sf "$bundle/bin/train" "$work/train"
        run env -C / "$work/train" "${tiny[@]}" run.dir="$work/$libc"
    fi
    expect "$libc C library: trains" 0 "done: 3 steps"
    same "$libc C library: the same bits" "$(hash_of)" "$here"
    run env -C / "$work/train" "${tiny[@]}" run.dir="$work/$libc-2" --workers 2
    expect "$libc C library: trains with two workers" 0 "done: 3 steps"
    same "$libc C library: their bits" "$(hash_of)" "$here"
    run "$bundle/bin/evaluate" --checkpoint "$work/$libc" --json
    expect "$libc C library: evaluates" 0 '"mAP50"'
    run "$bundle/bin/predict" --checkpoint "$work/$libc" "$(ls "$work"/data/images/*.png | head -n 1)"
    expect "$libc C library: predicts" 0
    run "$bundle/bin/spotgrad" nothing
    expect_error "$libc C library: errors and arguments" 64 "spotgrad: there is no command 'nothing'; try \`spotgrad --help\`"
done

# as the units' first lines put it in place, their ExecStart starts it
for unit in spotgrad spotgrad-worker@; do
    rm -rf "$work/opt"
    (cd "$bundle" && sh -c "$(sed -n "s,^# *\(mkdir -p /opt.*\),\1,p" scripts/launch/$unit.service | sed "s,/opt/,$work/opt/,g")")
    run $(sed -n "s,^ExecStart=/opt\(/[^ ]*\).*,$work/opt\1,p" scripts/launch/$unit.service) train --version
    expect "installed for $unit.service" 0 "spotgrad "
done

# libraries FILE: those that the loader takes from outside the bundle
SPOTGRAD_LIBC=own run env LD_TRACE_LOADED_OBJECTS=1 "$bundle/lib/spotgrad"
others=$(sed -n 's/.* => \(.*\) (0x[0-9a-f]*)/\1/p' "$work/out" | grep -v -F "$bundle/" | grep -v -E '/(libc|libm|libpthread|libdl|librt|libresolv|libmvec)\.so')
if [ -s "$work/out" ] && [ -z "$others" ]; then pass "all libraries are the bundle's"
else fail "all libraries are the bundle's" "${others:-none listed}"; fi
SPOTGRAD_LIBC=neither run "$bundle/bin/train" --version
expect_error "SPOTGRAD_LIBC of no kind" 69 "spotgrad: SPOTGRAD_LIBC: is neither host nor own"

# A driver by LD_LIBRARY_PATH, and the plug-in's libraries where pip puts them
mkdir -p "$work/driver" "$work/python/bin" "$work/python/lib/python3.99/site-packages/nvidia/any/lib"
${CC:-cc} -shared -fPIC tests/fake_libcuda.c -o "$work/driver/libcuda.so.1"
${CC:-cc} -shared -fPIC -x c /dev/null -Wl,-soname,libspotgrad_test_vendor.so.3 \
    -o "$work/python/lib/python3.99/site-packages/nvidia/any/lib/libspotgrad_test_vendor.so.3"
mv "$bundle/lib/libspotgrad_cuda.so" "$work/real.so" 2>/dev/null
${CC:-cc} -shared -fPIC -x c /dev/null -Wl,--no-as-needed -o "$bundle/lib/libspotgrad_cuda.so" \
    -x none "$work/python/lib/python3.99/site-packages/nvidia/any/lib/libspotgrad_test_vendor.so.3"
for libc in host own; do
    export SPOTGRAD_LIBC=$libc LD_LIBRARY_PATH="$work/driver" FAKE_CUDA=1
    run "$bundle/bin/train" --devices
    expect "$libc C library: the host's driver" 0 "cuda:0  Fake GPU 10"
    expect "$libc C library: names what the plug-in lacks" 0 "libspotgrad_test_vendor.so.3: cannot open shared object file"
    PATH="$PATH:$work/python/bin" run "$bundle/bin/train" --devices
    if grep -q "cannot open shared object" "$work/out"; then fail "$libc C library: finds pip's libraries" "$(cat "$work/out")"
    else expect "$libc C library: finds pip's libraries" 0 "libspotgrad_cuda.so"; fi
    unset LD_LIBRARY_PATH FAKE_CUDA
done
rm "$bundle/lib/libspotgrad_cuda.so"
[ ! -f "$work/real.so" ] || mv "$work/real.so" "$bundle/lib/libspotgrad_cuda.so"

# Nothing but the bundle: no loader, no library, no /etc.
unset SPOTGRAD_LIBC
root="$work/root"
mkdir -p "$root/proc" "$root/tmp" "$root/dev"
if [ "$(id -u)" = 0 ] && mount -t proc proc "$root/proc" 2>/dev/null; then
    mounted="$root/proc"
    cp -r "$bundle" "$root/spot grad"
    cp -r "$work/data" "$root/data"
    cp /dev/null "$root/dev/null"
    run chroot "$root" "/spot grad/bin/train" "${tiny[@]/#"$bundle"/\/spot grad}" run.dir=/tmp/run data.root=/data
    expect "in an empty root" 0 "done: 3 steps"
    same "in an empty root: the same bits" "$(hash_of)" "$here"
    run chroot "$root" "/spot grad/bin/train" --devices
    expect "in an empty root: no GPU, and why" 0 "cuda    not usable: no NVIDIA driver on this machine"
else
    skip "in an empty root" "needs root, and a mount of proc"
fi

# Certificates: a server whose authority is known by a variable alone, by a name that is looked up
if command -v openssl >/dev/null && command -v python3 >/dev/null; then
    openssl req -x509 -newkey rsa:2048 -nodes -keyout "$work/key" -out "$work/certificate" -days 2 \
        -subj /CN=localhost -addext subjectAltName=DNS:localhost >/dev/null 2>&1
    mkfifo "$work/input"
    exec 8<>"$work/input"
    python3 - "$work/certificate" "$work/key" <"$work/input" >"$work/port" 2>/dev/null 8>&- <<'PYTHON' &
import http.server, ssl, sys, threading
class Refuse(http.server.BaseHTTPRequestHandler):
    def do_GET(self): self.send_error(403)
    do_PUT = do_HEAD = do_GET
server = http.server.ThreadingHTTPServer(("localhost", 0), Refuse)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
PYTHON
    server=$!
    for _ in $(seq 100); do [ -s "$work/port" ] && break; sleep 0.1; done
    unset CURL_CA_BUNDLE SSL_CERT_FILE
    for libc in host own; do
        export SPOTGRAD_LIBC=$libc AWS_ACCESS_KEY_ID=a AWS_SECRET_ACCESS_KEY=b NO_PROXY=localhost \
            AWS_ENDPOINT_URL="https://localhost:$(cat "$work/port")"
        run "$bundle/bin/train" "${tiny[@]}" run.dir="$work/tls" checkpoint.store=s3://bucket/run
        expect "$libc C library: an unknown authority" 69 "certificate"
        SSL_CERT_FILE="$work/certificate" run "$bundle/bin/train" "${tiny[@]}" run.dir="$work/tls" checkpoint.store=s3://bucket/run
        expect "$libc C library: an authority by SSL_CERT_FILE" 69 "403"
    done
    kill $server
else
    skip "certificates" "no openssl or python3"
fi
[ $failures = 0 ]
