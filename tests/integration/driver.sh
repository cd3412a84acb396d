# tests/run itself: what passes, fails, is skipped, crashes or hangs is counted as that, and Ctrl-C ends all. And
# scripts/fuzz: executions and findings are counted, and a finding fails. And what make says of wrong words.
. tests/lib.sh

# program NAME: a shell script that stands for a cmocka program (its text on standard input)
program() { { echo '#!/bin/sh'; cat; } >"$work/$1"; chmod +x "$work/$1"; }

program good <<'END'
echo '[ RUN      ] a'; echo '[       OK ] a'; echo '[ RUN      ] b'; echo 'noise[       OK ] b'
echo '[ RUN      ] c'; echo '[  SKIPPED ] c'; echo '[  SKIPPED ] 1 test(s), listed below:' >&2
echo '[  SKIPPED ] c' >&2
END
program bad <<'END'
echo '[ RUN      ] a'; echo '[  FAILED  ] a'; echo '[  FAILED  ] a' >&2
exit 1
END
program crash <<'END'
echo '[ RUN      ] a'; echo '[       OK ] a'; echo '[ RUN      ] b'
kill -SEGV $$
END
program silent <<'END'
exit 0
END
printf '%s\n' 'echo "ok - one"' 'echo "skip - two: no data"' >"$work/some.sh"
printf '%s\n' 'echo "not ok - one: why"' 'exit 1' >"$work/broken.sh"
printf '%s\n' '# time limit: 1' 'echo "ok - one"' 'sleep 20' >"$work/hang.sh"
printf '%s\n' 'print("ok - python")' >"$work/snake.py"

# counts NAME STATUS LAST-LINE FILE...
counts() {
    local name=$1 want=$2 line=$3

    shift 3
    run env SPOTGRAD_TEST_LOGS="$work/logs" tests/run "$@"
    if [ "$status" = "$want" ] && [ "$(tail -n 1 "$work/out")" = "$line" ]; then
        pass "$name"
    else
        fail "$name" "status $status, closing line '$(tail -n 1 "$work/out")'"
    fi
}
counts "passed and skipped" 0 "2 passed, 0 failed, 1 skipped" "$work/good"
counts "failed" 1 "0 passed, 1 failed, 0 skipped" "$work/bad"
counts "crashed" 1 "1 passed, 1 failed, 0 skipped" "$work/crash"
counts "ran nothing" 1 "0 passed, 1 failed, 0 skipped" "$work/silent"
counts "not there" 1 "0 passed, 1 failed, 0 skipped" "$work/nothing"
counts "script" 0 "1 passed, 0 failed, 1 skipped" "$work/some.sh"
counts "script that fails" 1 "0 passed, 1 failed, 0 skipped" "$work/broken.sh"
counts "script that hangs" 1 "1 passed, 1 failed, 0 skipped" "$work/hang.sh"
counts "python" 0 "1 passed, 0 failed, 0 skipped" "$work/snake.py"
counts "all together" 1 "8 passed, 5 failed, 3 skipped" "$work"/{good,bad,crash,silent} \
    "$work"/{some,broken}.sh "$work"/hang.sh "$work"/snake.py "$work/good"

for name in slow lane; do
    printf '%s\n' "# lane: $name" 'echo $$ >"'"$work/$name.began"'"' 'sleep 60; echo "ok - slept"' >"$work/$name.sh"
done
sed -i 1d "$work/slow.sh"

# stops WHAT SIGNAL STATUS [-]: to tests/run; with the minus to all of its group
stops() {
    local start=$SECONDS run

    rm -f "$work"/{slow,lane}.began
    SPOTGRAD_TEST_LOGS="$work/logs" setsid env --default-signal tests/run "$work/slow.sh" "$work/lane.sh" \
        >"$work/out" 2>&1 &
    run=$!
    for _ in $(seq 200); do [ -s "$work/slow.began" ] && [ -s "$work/lane.began" ] && break; sleep 0.05; done
    kill "-$2" -- "${4-}$run"
    wait $run
    same "$1: the exit status" $? $3
    if [ $((SECONDS - start)) -le 20 ] && ! kill -0 "$(cat "$work/slow.began")" 2>/dev/null &&
        ! kill -0 "$(cat "$work/lane.began")" 2>/dev/null; then pass "$1: all tests are ended"
    else fail "$1: all tests are ended" "after $((SECONDS - start)) s: $(tail -n 3 "$work/out")"; fi
}
# it reaches tests/run alone, as what that runs has process groups of its own; in a lane, too
stops Ctrl-C INT 130
stops "a terminal that goes" HUP 143 -

unset MAKEFLAGS MAKELEVEL # of the make that runs this
run make CONFIG=relase; expect "make: a configuration that is none" 2 "CONFIG=relase is none of release, asan,"
run make NVCC= gpu-programs; expect "make gpu-programs without nvcc" 2 "cuda: needs nvcc"
run scripts/setup; expect_error "set-up without a list" 64 "usage: scripts/setup build|test|ci|bench|fuzz"

# a program that stands for libFuzzer's, in which the entry png has a finding
mkdir "$work/fuzz"
cat >"$work/fuzz/fuzz" <<'END'
#!/bin/sh
echo '#90 REDUCE cov: 7 ft: 8 corp: 1/2b'
if [ "$1" = --entry=png ]; then
    echo 'x.c:1: broken promise: 1 == 2'; echo 'artifact_prefix=x; Test unit written to found-1'
    echo 'stat::number_of_executed_units: 50'; exit 77
fi
echo '#100 DONE cov: 12 ft: 34 corp: 1/2b'; echo 'stat::number_of_executed_units: 100'
echo 'stat::average_exec_per_sec: 25'
END
chmod +x "$work/fuzz/fuzz"
export FUZZ_BUILD="$work/fuzz"
run scripts/fuzz list coco; expect "fuzz without findings" 0 "2 entries, 200 executions, 0 findings"
expect "fuzz tells an entry" 0 "coco             100       25     12     34      -"
entries=$(grep -c '^FUZZ_ENTRY(' tests/fuzz/entries.def) # png's ends after 50
run scripts/fuzz
expect "fuzz with a finding" 1 "$entries entries, $((100 * entries - 50)) executions, 1 findings"
expect "fuzz names the input" 1 "input: found-1"
run scripts/fuzz nothing; expect_error "fuzz of no entry" 64 "fuzz: no entry nothing in tests/fuzz/entries.def"
run env FUZZ_RUNS=1e6 scripts/fuzz; expect_error "fuzz for no number" 64 "fuzz: FUZZ_RUNS=1e6 is not a number of executions"

[ $failures = 0 ]
