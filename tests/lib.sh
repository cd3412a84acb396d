# For the shell scripts in tests/integration: `. tests/lib.sh`. A script runs from the repository's
# root and prints a line a case, see tests/run.
set -u
work=$(mktemp -d "${TMPDIR:-/tmp}/spotgrad-test-XXXXXX")
trap 'rm -rf "$work"' EXIT
failures=0

pass() { echo "ok - $1"; }
fail() { echo "not ok - $1: $2"; failures=$((failures + 1)); }
skip() { echo "skip - $1: $2"; }

# small_disk NAME SIZE: $disk, a file system of its own to the script's end; without one NAME is skipped.
small_disk() {
    disk=$work/disk
    mkdir "$disk"
    if [ "$(id -u)" != 0 ] || ! mount -t tmpfs -o size="$2" disk "$disk" 2>/dev/null; then
        skip "$1" "needs root, and to mount a tmpfs"
        return 1
    fi
    trap 'umount "$disk"; rm -rf "$work"' EXIT
}

# Of processes, by /proc alone: a bare Debian has no pgrep.
# children PID
children() { cat "/proc/$1/task/$1/children" 2>/dev/null; }
# in_session PID: how many processes are in the session that it began
in_session() { cat /proc/[0-9]*/stat 2>/dev/null | sed 's/.*) //' | awk -v id="$1" '$4 == id' | wc -l; }

# run COMMAND...: its exit status in $status, its output in $work/out and $work/err.
run() {
    status=0
    "$@" >"$work/out" 2>"$work/err" </dev/null || status=$?
}

# expect NAME STATUS [TEXT...]: the last run's exit status, and each TEXT somewhere in its output.
expect() {
    local name=$1 want=$2 text

    shift 2
    if [ "$status" != "$want" ]; then
        fail "$name" "exit status $status instead of $want: $(head -c 300 "$work/err" | tr '\n' ' ')"
        return
    fi
    for text in "$@"; do
        if ! grep -qF -- "$text" "$work/out" "$work/err"; then
            fail "$name" "no '$text' in: $(head -c 300 "$work/out" "$work/err" | tr '\n' ' ')"
            return
        fi
    done
    pass "$name"
}

# same NAME A B: equal, and not empty
same() {
    if [ -n "$2" ] && [ "$2" = "$3" ]; then pass "$1"; else fail "$1" "'$2' is not '$3'"; fi
}

# differ NAME A B: not equal, and neither is empty
differ() {
    if [ -n "$2" ] && [ -n "$3" ] && [ "$2" != "$3" ]; then pass "$1"; else fail "$1" "'$2' and '$3'"; fi
}

# hash_of [FILE]: of the state at the end, as told in FILE or by the last run; nothing where it is not told
hash_of() { sed -n 's/^state sha256: \([0-9a-f]\{64\}\)$/\1/p' "${1:-$work/out}"; }

# expect_error NAME STATUS MESSAGE: standard error is that one line, standard output is empty.
expect_error() {
    if [ "$status" != "$2" ]; then
        fail "$1" "exit status $status instead of $2: $(head -c 300 "$work/err" | tr '\n' ' ')"
    elif [ "$(cat "$work/err")" != "$3" ]; then
        fail "$1" "said: $(head -c 300 "$work/err" | tr '\n' ' ')"
    elif [ -s "$work/out" ]; then
        fail "$1" "wrote to standard output"
    else
        pass "$1"
    fi
}
