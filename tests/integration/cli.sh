# The program from outside: exit statuses, messages, lost outputs.
. tests/lib.sh

version=$(sed -n 's/^#define SPOTGRAD_VERSION "\(.*\)"/\1/p' src/spotgrad.h)

run bin/spotgrad --version; expect "version" 0 "spotgrad $version"
run bin/spotgrad --help; expect "help names the commands" 0 "usage: spotgrad" "  train "
run bin/spotgrad; expect_error "no command" 64 \
    "spotgrad: a command is missing; try \`spotgrad --help\`"
run bin/spotgrad trian; expect_error "unknown command" 64 \
    "spotgrad: there is no command 'trian'; try \`spotgrad --help\`"
run bin/spotgrad train --version; expect "a command's version" 0 "spotgrad $version"

for link in bin/*; do
    [ -L "$link" ] || continue
    command=$(basename "$link")
    run "$link" --help; expect "$command --help" 0 "usage: $command " "--help"
    run bin/spotgrad "$command" --help; expect "spotgrad $command --help" 0 "usage: $command "
    run "$link" --version; expect "$command --version" 0 "spotgrad $version"
    run "$link" --no-such-option; expect_error "$command: unknown option" 64 \
        "$command: unknown option --no-such-option; try \`$command --help\`"
done
ln -s "$PWD/bin/spotgrad" "$work/other"
run "$work/other" --version; expect "called by another name" 0 "spotgrad $version"

run bin/train; expect_error "no configuration" 64 \
    "train: --config FILE or section.key=value is missing; try \`train --help\`"
run bin/train --config; expect_error "option without its value" 64 \
    "train: --config lacks its FILE; try \`train --help\`"
run bin/train --config=; expect_error "option with an empty value" 64 \
    "train: --config lacks its FILE; try \`train --help\`"
run bin/train --config a --config b; expect_error "option given twice" 64 \
    "train: --config is given twice; try \`train --help\`"
run bin/train --help-config=x; expect_error "flag with a value" 64 \
    "train: --help-config takes no value; try \`train --help\`"
run bin/train --markdown --config a; expect_error "a flag that goes with another one" 64 \
    "train: --markdown goes with --help-config; try \`train --help\`"
run bin/train mask.ini; expect_error "stray argument" 64 \
    "train: 'mask.ini' is neither an option nor section.key=value; try \`train --help\`"
run bin/train --config "$work/none.ini"; expect_error "no such file" 66 \
    "train: $work/none.ini: cannot open: No such file or directory"
run bin/train --config "$work"; expect_error "a folder for a file" 78 \
    "train: $work: is a folder, not a file; is this a configuration?"

# config_error NAME TEXT MESSAGE [ARGUMENT...]
config_error() {
    local name=$1 message=$3

    printf "$2" >"$work/mask.ini"
    shift 3
    run bin/train --print-config --config "$work/mask.ini" "$@"
    expect_error "$name" 78 "train: $message"
}
ini=$work/mask.ini
config_error "unknown key" '[train]\nepochz = 3\n' \
    "$ini:2: train.epochz: unknown key; did you mean train.epochs?"
config_error "wrong type" '[train]\nbatch = 12x\n' \
    "$ini:2: train.batch: '12x' is not a whole number (1..65536)"
config_error "out of range" '[train]\nbatch = 70000\n' \
    "$ini:2: train.batch: '70000' is not a whole number (1..65536)"
config_error "key twice" '[train]\nbatch = 8\n\n[train]\nbatch = 8\n' \
    "$ini:5: train.batch: already set in line 2; remove one"
config_error "no INI" 'hello\n' "$ini:1: 'hello' is neither [section] nor key = value"
config_error "NUL byte" '[train]\nbatch = 8\000\n' "$ini:2: a NUL byte; is this a text file?"
config_error "between keys" '[train]\nbatch = 12\n' \
    "$ini:2: train.batch: 12 is not a multiple of train.shards = 8; try 16"
config_error "no shell in a configuration" '[run]\ndir = ~/runs\n' \
    "$ini:2: run.dir: '~/runs': ~ is not made a home folder here; write it out"
config_error "bad override" '[train]\nbatch = 8\n' \
    "command line: train.lr: 'fast' is not a number (0..10)" train.lr=fast
config_error "override without a section" '' \
    "command line: 'epochs=3' is not section.key=value" epochs=3
head -c 1100000 /dev/zero | tr '\0' '#' >"$ini"
run bin/train --print-config --config "$ini"; expect "huge file" 78 "larger than 1048576 bytes"
head -c 4000 bin/spotgrad >"$ini"
run bin/train --print-config --config "$ini"; expect "a program as configuration" 78 "$ini:1: "

printf '\357\273\277[train]\r\nepochs = 7 # seven\r\n' >"$ini"
run bin/train --print-config --config "$ini" run.dir=x train.epochs=8
expect "overrides win" 0 "epochs = 8" "dir = x"
cp "$work/out" "$work/resolved.ini"
run bin/train --print-config --config "$work/resolved.ini"
if cmp -s "$work/out" "$work/resolved.ini"; then pass "resolved configuration reads back"; else
    fail "resolved configuration reads back" "$(diff "$work/out" "$work/resolved.ini" | head -n 3)"; fi
for config in configs/*.ini; do
    run bin/train --print-config --config "$config"; expect "$config is valid" 0 "[train]"
done
run bin/train --help-config; expect "help on keys" 0 "[predict]" "whole number (1..65536)"

status=0; bin/train --help-config >/dev/full 2>"$work/err" || status=$?; : >"$work/out"
expect_error "full output" 74 "train: standard output: No space left on device"
status=0; bin/train --help-config >&- 2>"$work/err" || status=$?
expect_error "closed output" 74 "train: standard output: Bad file descriptor"
status=0; bin/train --nonsense 2>/dev/full || status=$?; : >"$work/err"
expect "full standard error" 64
{ bin/train --help-config 2>"$work/err"; echo $? >"$work/rc"; } | true
for i in 1 2 3 4 5 6 7 8 9 10; do [ -s "$work/rc" ] && break; sleep 0.1; done
# the reader may leave before or after the text is written
case "$(cat "$work/rc")" in
    0 | 74) [ -s "$work/err" ] && fail "closed pipe" "$(cat "$work/err")" || pass "closed pipe" ;;
    *) fail "closed pipe" "exit status $(cat "$work/rc")" ;;
esac
run scripts/fresh --only tests; expect "fresh: a step that is none" 64 "usage: scripts/fresh"
LC_ALL=C.UTF-8 run bin/train --print-config train.lr=0.5; expect "numbers in a locale" 0 "lr = 0.5"

[ $failures = 0 ]
