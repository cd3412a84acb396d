# Several workers, some of which die, stop or leave: the short form of `make chaos`'s. docs/elastic.md
# has the long one's figures.
. tests/lib.sh

python=python3
[ -x .venv/bin/python ] && python=.venv/bin/python
if TMPDIR=$work $python tests/chaos/workers --short --faults 12 --epochs 40; then :; else failures=1; fi
if TMPDIR=$work $python tests/chaos/workers --texts --short --faults 12 --epochs 80; then :; else failures=1; fi

[ $failures = 0 ]
