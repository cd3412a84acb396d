# The pages of docs/: the program of custom-model.md, as a user would build and run it; and that the
# functions and files which pages name exist.
. tests/lib.sh

example=build/release/examples/image_classifier
page=docs/custom-model.md

# the page's C blocks, an empty line between two, are the file
awk '/^```c$/ { if (n++) print ""; on = 1; next } /^```$/ { on = 0 } on' $page >"$work/page.c"
if cmp -s "$work/page.c" examples/image_classifier.c; then pass "page and file agree"; else
    fail "page and file agree" "$(diff "$work/page.c" examples/image_classifier.c | head -n 4 | tr '\n' ' ')"; fi

start=$SECONDS
run $example "$work/shapes.h5"; expect "the example runs" 0 "of 500 new pictures are right"
right=$(sed -n 's/^\([0-9]*\) of 500 .*/\1/p' "$work/out")
if [ "${right:-0}" -gt 475 ] && [ $((SECONDS - start)) -le 20 ]; then
    pass "it learns within seconds"; else
    fail "it learns within seconds" "$right of 500 right after $((SECONDS - start)) s"; fi

run taskset -c 0 $example "$work/again.h5"; expect "on one processor" 0 "$right of 500"
if cmp -s "$work/shapes.h5" "$work/again.h5"; then pass "the same bytes on one processor"; else
    fail "the same bytes on one processor" "the model files differ"; fi

# a library that cannot be loaded, as if there were none
mkdir "$work/blas"; echo damaged >"$work/blas/libopenblas.so.0"
run env LD_LIBRARY_PATH="$work/blas" $example "$work/sgemm.h5"
expect "without OpenBLAS" 0 "of 500 new pictures are right"

run $example "$work/none/shapes.h5"; expect "a folder that is not there" 1 "$work/none/shapes.h5"

# what pages name: functions; files, also with what stands before the name; keys, but for file names such as data.yaml
sections=$(sed -n 's/^SG_SECTION(\([a-z]*\),.*/\1/p' src/core/keys.def | paste -sd '|')
keys=$(sed -n 's/^SG_KEY_[A-Z]*(\([a-z]*\), \([a-z0-9_]*\),.*/\1.\2/p' src/core/keys.def)
suffixes='c|h|cu|cpp|def|md|sh|py|yaml|ini|json|jsonl|csv|tsv|txt|h5|png|onnx|new'
for page in README.md docs/*.md datasets/README.md; do
    missing=
    for name in $(grep -oE '\bsg_[a-z0-9_]*[a-z0-9]\b' $page | sort -u); do
        grep -rqw --include='*.[ch]' --include='*.cu' -- "$name" src cuda tests || missing="$missing $name"
    done
    for file in $(grep -oE '(^|[^A-Za-z0-9_/.*-])[a-z_0-9]+/[a-z_0-9/]*[a-z_0-9]\.(c|h|def|md|sh|cu|cpp|py|ini)\b' $page |
        sed 's/^[^a-z0-9_]//' | sort -u); do
        [ -e "$file" ] || [ -e "src/$file" ] || missing="$missing $file"
    done
    for file in $(grep -oE '\]\([^)#]*' $page | sed 's/^](//' | grep -v '^http' | sort -u); do
        [ -e "$(dirname $page)/$file" ] || missing="$missing $file"
    done
    for key in $(grep -oE "\b($sections)\.[a-z_0-9]+\b([*(]|\.[a-z])?" $page |
        grep -vE "\.($suffixes)\$|[*(]\$|\..*\." | sort -u); do
        grep -qx -- "$key" <<<"$keys" || missing="$missing $key"
    done
    if [ -z "$missing" ]; then pass "$page names what exists"; else
        fail "$page names what exists" "not found:$missing"; fi
done

[ $failures = 0 ]
