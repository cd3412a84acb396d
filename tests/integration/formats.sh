# One drawn data set as VOC, YOLO and COCO: the same check, and the same bits after two steps. Boxes
# are whole pixels: what YOLO's shares lose is far below a float's last bit.
. tests/lib.sh

voc=$work/voc yolo=$work/yolo coco=$work/coco
tiny=(model.input=64 train.batch=4 train.shards=4 train.epochs=2 train.warmup=0 train.steps=2
      data.synthetic=0 data.classes=with_mask,without_mask,mask_weared_incorrect)

# train NAME [ARGUMENT...]
train() {
    local name=$1

    shift
    run bin/train --config configs/mask-demo.ini run.dir="$work/run-$name" "${tiny[@]}" "$@"
}

train voc data.root="$voc" data.synthetic=20 data.synthetic_side=160
expect "VOC" 0 "done: 2 steps"
whole=$(hash_of)

command -v python3 >/dev/null || { skip "YOLO and COCO" "no python3"; exit $failures; }
python3 - "$voc" "$yolo" "$coco" <<'PYTHON'
import json, pathlib, shutil, sys
from xml.etree import ElementTree

voc, yolo, coco = map(pathlib.Path, sys.argv[1:])
names = ["with_mask", "without_mask", "mask_weared_incorrect"]
numbers = {"mask_weared_incorrect": 70, "with_mask": 3, "without_mask": 12}  # not dense
yolo.mkdir(), coco.mkdir()
(yolo / "data.yaml").write_text("train: images/train\nval: images/val\nnames:\n" +
                                "".join(f"  {i}: {n}\n" for i, n in enumerate(names)))
for part in ("train", "val"):
    (yolo / "images" / part).mkdir(parents=True), (yolo / "labels" / part).mkdir(parents=True)
    (coco / "pictures" / part).mkdir(parents=True)
    images, boxes = [], []
    for name in sorted((voc / f"{part}.txt").read_text().split()):
        tree = ElementTree.parse(voc / "annotations" / f"{name}.xml")
        W, H = (int(tree.findtext(f"size/{k}")) for k in ("width", "height"))
        shutil.copy(voc / "images" / f"{name}.png", yolo / "images" / part)
        shutil.copy(voc / "images" / f"{name}.png", coco / "pictures" / part)
        images.append({"id": 1000 - len(images), "file_name": f"{name}.png", "width": W, "height": H})
        lines = []
        for face in tree.iter("object"):
            box = [int(face.findtext(f"bndbox/{k}")) for k in ("xmin", "ymin", "xmax", "ymax")]
            label = face.findtext("name")
            x0, y0, x1, y1 = box
            lines.append(f"{names.index(label)} {(x0 + x1) / 2 / W!r} {(y0 + y1) / 2 / H!r} "
                         f"{(x1 - x0) / W!r} {(y1 - y0) / H!r}\n")
            boxes.append({"id": len(boxes), "image_id": images[-1]["id"], "iscrowd": 0,
                          "category_id": numbers[label], "bbox": [x0, y0, x1 - x0, y1 - y0]})
        (yolo / "labels" / part / f"{name}.txt").write_text("".join(lines))
    (coco / f"instances_{part}.json").write_text(json.dumps({
        "images": images, "annotations": boxes,
        "categories": [{"id": i, "name": n} for n, i in numbers.items()]}))
PYTHON

# VOC's lists in the order of a folder's names
for part in train val; do LC_ALL=C sort -o "$voc/$part.txt" "$voc/$part.txt"; done
train sorted data.root="$voc"
expect "VOC, sorted" 0 "done: 2 steps"
whole=$(hash_of)

as_yolo=(data.format=yolo data.root="$yolo" data.train=images/train data.val=images/val)
as_coco=(data.format=coco data.root="$coco" data.train=instances_train.json
         data.val=instances_val.json data.images=pictures)
train yolo "${as_yolo[@]}"; expect "YOLO" 0 "done: 2 steps"
same "YOLO: the same bits" "$(hash_of)" "$whole"
train coco "${as_coco[@]}"; expect "COCO" 0 "done: 2 steps"
same "COCO: the same bits" "$(hash_of)" "$whole"

run bin/train --check-data data.root="$voc"
counts=$(sed -n 's/^.*: \(20 pictures, .*\)$/\1/p' "$work/out")
run bin/train --check-data "${as_yolo[@]}"; expect "YOLO: the check" 0 "$yolo: $counts"
run bin/train --check-data "${as_coco[@]}"; expect "COCO: the check" 0 "$coco: $counts"
same "no fault in 20 pictures" "${counts##*boxes, }" "0 errors, 0 warnings"

# what a user gets wrong first
run bin/train --check-data data.format=yolo data.root="$yolo"
expect "YOLO without lists" 65 "$yolo/train.txt: error: no such list or folder; set data.train=images/train"
train wrong data.format=coco data.root="$coco" data.synthetic=0
expect_error "COCO without files" 66 \
    "train: $coco/train.txt: no such file; set data.train and data.val to COCO's JSON files"
train wrong data.format=yolo data.root="$work/none" data.synthetic=20
expect_error "drawn pictures are VOC" 78 \
    "train: data.synthetic draws a data set in the format voc, but data.format is yolo"
echo "0 0.5 0.5 0.1 0.1 0.2 0.2" >>"$(ls "$yolo"/labels/train/*.txt | head -n 1)"
train wrong "${as_yolo[@]}"
expect "YOLO with polygons" 65 "7 numbers; a box has five (class cx cy w h)"

[ $failures = 0 ]
