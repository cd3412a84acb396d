"""N-grams and byte-pair encoding against a second implementation, as short as they can be told:
messages are cleaned by the library, then both compute ids, and both learn an encoding."""
import glob
import os
import random
import subprocess
import sys
import tempfile

TOOL = "build/release/tests/test_bpe"
WORDS, CHAR_MIN, CHAR_MAX, BUCKETS, JOINS = 3, 2, 5, 1000003, 400
PARTS = """the a so good! GREAT sooooo http://t.co/x @Anna #HappyDay #love can't don’t :) :-( <3
    &amp; \\u2019s 10:30 $5 ... !!! 😂 👍🏽 🇺🇦 Привіт, світе м’ята їжак дууууже #ДобрийРанок
    caf\u00e9 naïve 日本語 한국어 ثلاثة x² ﬁne — “quoted” e\u0301 l'été not_this user-friendly
    AT&T 1,000 50%""".split()


def hashed(data):
    """fastText's: FNV-1a, bytes extended with their sign."""
    h = 2166136261
    for byte in data:
        h = ((h ^ (byte if byte < 128 else byte | 0xFFFFFF00)) * 16777619) & 0xFFFFFFFF
    return h


def ngrams(text):
    signed = lambda h: h if h < 2**31 else h + 2**64 - 2**32
    tokens = text.split(" ") if text else []
    ids = []
    for i, token in enumerate(tokens):
        for k in range(1, min(WORDS, i + 1) + 1):
            h = 2166136261
            for t in tokens[i - k + 1:i + 1]:
                h = (h * 116049371 + signed(hashed(t.encode()))) % 2**64
            ids.append(h % BUCKETS)
        marked = "<" + token + ">"
        for start in range(len(marked)):
            for end in range(start + CHAR_MIN, min(start + CHAR_MAX, len(marked)) + 1):
                ids.append(hashed(marked[start:end].encode()) % BUCKETS)
    return ids


def joined(word, pair, new):
    out = []
    for id in word:
        if out and (out[-1], id) == pair:
            out[-1] = new
        else:
            out.append(id)
    return out


def as_words(text):
    """A space and a token each; what is longer than 64 bytes is cut between code points."""
    for token in text.split():
        piece = b" "
        for c in token:
            if len(piece + c.encode()) > 64:
                yield tuple(3 + byte for byte in piece)
                piece = b""
            piece += c.encode()
        yield tuple(3 + byte for byte in piece)


def learn(texts):
    counts = {}
    for text in texts:
        for word in as_words(text):
            counts[word] = counts.get(word, 0) + 1
    words = list(counts.items())
    joins = []
    while len(joins) < JOINS:
        pairs = {}
        for word, n in words:
            for pair in zip(word, word[1:]):
                pairs[pair] = pairs.get(pair, 0) + n
        best = min(pairs, key=lambda pair: (-pairs[pair], pair), default=None)
        if best is None or pairs[best] < 2:
            break
        words = [(joined(word, best, 259 + len(joins)), n) for word, n in words]
        joins.append(best)
    return joins


def encode(text, joins):
    rank = {pair: i for i, pair in enumerate(joins)}
    ids = []
    for word in as_words(text):
        while True:
            known = [rank[pair] for pair in zip(word, word[1:]) if pair in rank]
            if not known:
                break
            word = joined(word, joins[min(known)], 259 + min(known))
        ids += word
    return ids


def run_tool(messages):
    with tempfile.NamedTemporaryFile(suffix=".txt") as file:
        file.write(b"".join(message + b"\n" for message in messages))
        file.flush()
        arguments = [WORDS, CHAR_MIN, CHAR_MAX, BUCKETS, 259 + JOINS]
        done = subprocess.run([TOOL, file.name, *map(str, arguments)], stdout=subprocess.PIPE,
                              check=True)
    lines = done.stdout.decode().split("\n")
    n = 3 * len(messages)
    rows = [lines[i:i + 3] for i in range(0, n, 3)]
    texts = [row[0].partition(" ")[2] for row in rows]
    grams, bpe = ([[int(id) for id in row[k].split()[1:]] for row in rows] for k in (1, 2))
    joins = [tuple(map(int, line.split(" ")[:2])) for line in lines[n + 3:] if line]
    return texts, grams, bpe, joins


def drawn():
    """Words of the list, and such as nobody has seen."""
    draw = random.Random(1)
    messages = []
    for _ in range(400):
        words = draw.choices(PARTS, k=draw.randrange(0, 20))
        words += ["".join(draw.choices("abcdeжї", k=draw.randrange(1, 90))) for _ in range(2)]
        messages.append(" ".join(words).encode())
    return messages


def tweets():
    """Some of each task, where the data set is."""
    messages = []
    root = os.environ.get("SPOTGRAD_DATA", "/none")
    for path in sorted(glob.glob(root + "/tweeteval/*/val_text.txt")):
        with open(path, "rb") as file:
            messages += file.read().split(b"\n")[:60]
    return [message for message in messages if b"\0" not in message]


def compare(name, messages):
    texts, grams, bpe, joins = run_tool(messages)
    wrong = [text for text, ids in zip(texts, grams) if ids != ngrams(text)]
    verdict("n-grams of %s" % name, wrong)
    mine = learn(texts)
    wrong = [i for i, (a, b) in enumerate(zip(joins, mine)) if a != b]
    if not len(joins) == len(mine) == JOINS:
        wrong.append("%d and %d joins" % (len(joins), len(mine)))
    verdict("joins learned from %s" % name, wrong)
    wrong = [text for text, ids in zip(texts, bpe) if ids != encode(text, mine)]
    verdict("entries of %s" % name, wrong)


failed = False


def verdict(name, wrong):
    global failed
    failed = failed or bool(wrong)
    print("not ok - %s: %d differ, the first: %s" % (name, len(wrong), wrong[0]) if wrong
          else "ok - " + name)


compare("drawn messages", drawn())
if tweets():
    compare("tweets", tweets())
else:
    print("skip - tweets: no $SPOTGRAD_DATA/tweeteval")
sys.exit(failed)
