# The code itself: lint, headers, and the unit tests under the sanitizers. Takes minutes, so
# `.ci/run` runs it and `make test` does not.
# lane: code
# time limit: 1200
. tests/lib.sh
unset MAKEFLAGS MAKELEVEL # of the make that runs this

# quality NAME TARGET
quality() {
    if make "$2" >"$work/out" 2>&1; then
        pass "$1"
    else
        fail "$1" "make $2: $(grep -E 'error|warning|FAILED|ERROR' "$work/out" | head -n 5 | tr '\n' '|')"
        tail -n 40 "$work/out"
    fi
}

quality "headers compile alone" headers
quality "formatting, clang-tidy, cppcheck" lint
quality "unit tests under the sanitizers" asan

[ $failures = 0 ]
