# `train --check-data`: a data set without faults, one with many, and the real one.
. tests/lib.sh

# Two PNGs of 16 x 12 pixels.
gradient=iVBORw0KGgoAAAANSUhEUgAAABAAAAAMCAIAAADkharWAAAANElEQVR42s3LMQ0AQAwDsQAriIeTsVAeRAB2
gradient+=qw5CJa+W1KvAENDF8HoVGAInw+9VYAgcDANc3d+BIAX/mwAAAABJRU5ErkJggg==
plain=iVBORw0KGgoAAAANSUhEUgAAABAAAAAMCAIAAADkharWAAAAFUlEQVR42mMIVZhJEmIY1TCqATsCAGvkyoGD
plain+=+PcqAAAAAElFTkSuQmCC

# picture NAME BASE64
picture() { echo "$2" | base64 -d >"$root/images/$1.png"; }

# annotation NAME WIDTH CLASS XMIN YMIN XMAX YMAX
annotation() {
    echo "<annotation><size><width>$2</width><height>12</height><depth>3</depth></size>
<object><name>$3</name><bndbox><xmin>$4</xmin><ymin>$5</ymin><xmax>$6</xmax><ymax>$7</ymax></bndbox>
</object></annotation>" >"$root/annotations/$1.xml"
}

new_root() {
    root=$work/$1
    mkdir -p "$root/images" "$root/annotations"
    picture one "$gradient"; annotation one 16 face 1 1 9 9
    picture two "$plain"; annotation two 16 face 2 2 10 10
    echo one >"$root/train.txt"
    echo two >"$root/val.txt"
}

# fault WHERE TEXT: an error that names the file (or list and line), and says why
fault() {
    if grep -F -- "$root/$1" "$work/out" | grep -F ": error: " | grep -qF -- "$2"; then
        pass "fault: $1: $2"
    else
        fail "fault: $1: $2" "not in: $(grep -F "$1" "$work/out" | head -c 500)"
    fi
}

new_root whole
run bin/train --check-data data.root="$root"
expect "no fault" 0 "$root: 2 pictures, 2 boxes, 0 errors, 0 warnings"
annotation two 16 farce 2 2 10 10; annotation one 16 mask 1 1 9 9; echo two >>"$root/train.txt"
run bin/train --check-data data.root="$root"
same "boxes of each class" "$(sed -n '/^boxes/,/^$/p' "$work/out" | tr -s ' ' | tr '\n' ',')" \
    "boxes of class train.txt val.txt,farce 1 1,mask 1 0,,"

new_root many
picture class "$gradient"; annotation class 16 mask 1 1 9 9
picture size "$plain"; annotation size 20 face 1 1 9 9
picture thin "$plain"; annotation thin 16 face 5 5 5 9
picture outside "$plain"; annotation outside 16 face 30 5 40 9
annotation cut 16 face 1 1 9 9; head -c 80 "$root/images/one.png" >"$root/images/cut.png"
annotation empty 16 face 1 1 9 9; : >"$root/images/empty.png"
picture xml "$plain"; echo "<annotation><size>" >"$root/annotations/xml.xml"
picture bare "$plain"
printf '%s\n' two class size thin outside cut empty xml bare none one two >"$root/val.txt"
run bin/train --check-data data.root="$root" data.classes=face
expect "many faults" 65 "13 pictures, 10 boxes, 12 errors, 5 warnings"
fault annotations/class.xml:2 'unknown class `mask`'
fault annotations/size.xml:1 "says 20 x 12 pixels"
fault annotations/thin.xml:2 "has no area"
fault annotations/outside.xml:2 "is outside of the picture (16 x 12)"
fault images/cut.png "is cut off after 80 bytes"
fault images/empty.png "is empty (0 bytes), not a picture"
fault annotations/xml.xml:2 "the XML is cut off"
fault annotations/bare.xml "cannot open: No such file"
fault val.txt:2 "class.png has the same pixels as $root/images/one.png" # of another part
fault val.txt:10 "there is no picture images/none.png"
fault val.txt:11 "the same picture as $root/train.txt:1"
fault val.txt:12 "the same picture as $root/val.txt:1"

mkfifo "$work/pipe"
new_root pipes
rm "$root/images/one.png"; ln -s "$work/pipe" "$root/images/one.png"
run timeout -s KILL 10 bin/train --check-data data.root="$root"
expect "a pipe for a picture" 65 "$root/images/one.png: error: is a pipe or a device, not a file"
run timeout -s KILL 10 bin/train data.root="$root" run.dir="$work/run" spot.provider=none
expect_error "training on a pipe" 65 \
    "train: $root/images/one.png: is a pipe or a device, not a file"
new_root annotation_pipe
ln -sf "$work/pipe" "$root/annotations/one.xml"
run timeout -s KILL 10 bin/train --check-data data.root="$root"
expect "a pipe for an annotation" 65 "$root/annotations/one.xml: error: is a pipe"
new_root list_pipe
ln -sf "$work/pipe" "$root/val.txt"
run timeout -s KILL 10 bin/train --check-data data.root="$root"
expect "a pipe for a list" 65 "$root/val.txt: error: is a pipe"

new_root lists
: >"$root/train.txt"
rm "$root/val.txt"
run bin/train --check-data data.root="$root" data.classes=face
expect "empty and missing lists" 65
fault train.txt "the list is empty"
fault val.txt "no such list; write it, a picture's name a line"
run bin/train --check-data data.root="$work/none"; expect_error "missing folder" 66 \
    "train: $work/none: no such folder; set data.root=FOLDER"
run bin/train data.root="$work/none" run.dir="$work/run" spot.provider=none
expect_error "training, and a missing folder" 66 "train: $work/none: no such folder; set data.root=FOLDER"
run bin/train --check-data data.root="$root" data.classes=a,,b; expect_error "classes" 78 \
    "train: data.classes: class 2 has an empty name"
status=0; bin/train --check-data data.root="$root" >/dev/full 2>"$work/err" || status=$?
: >"$work/out"
expect "full output" 65 "standard output: No space left on device"

if [ -d "${SPOTGRAD_DATA-}/masks" ]; then
    run bin/train --check-data data.root="$SPOTGRAD_DATA/masks"
    expect "the real pictures" 0 "682 pictures, 3284 boxes, 0 errors"
else
    skip "the real pictures" "SPOTGRAD_DATA is not set"
fi

[ $failures = 0 ]
