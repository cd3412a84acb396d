# Kills, signals and failing disks, the short form of `make chaos`: docs/checkpoints.md has the long
# one's table.
. tests/lib.sh

python=python3
[ -x .venv/bin/python ] && python=.venv/bin/python
if TMPDIR=$work $python tests/chaos/run --short --kills 12 --epochs 2; then :; else failures=1; fi
if TMPDIR=$work $python tests/chaos/run --texts --short --kills 12 --epochs 2; then :; else failures=1; fi

[ $failures = 0 ]
