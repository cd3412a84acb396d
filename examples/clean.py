"""Messages cleaned as src/data/text_clean.h does (rules 1), for clients in Python without our library:

    from clean import clean
    clean("Sooooo GOOD!!!! 😂 https://t.co/x")    # 'sooo good !!! 😂 http'

docs/text.md tells the rules. The tables of code points are Unicode 15's, the rest is Python's: an emoji or a
letter that one of them does not know yet may come out another way. tests/integration/export.py holds it
against the library."""
import itertools
import re
import unicodedata

VERSION = 1  # of the rules: `spotgrad.normalizer_version` of a model


def points(ranges):
    ends = [[int(x, 16) for x in r.split("-")] for r in ranges.split()]
    return {c for r in ends for c in range(r[0], r[-1] + 1)}


EMOJI = points("""A9 AE 203C 2049 2122 2139 2194-2199 21A9-21AA 231A-231B 2328 2388 23CF 23E9-23F3 23F8-23FA 24C2
    25AA-25AB 25B6 25C0 25FB-25FE 2600-2605 2607-2612 2614-2685 2690-2705 2708-2712 2714 2716 271D 2721 2728 2733-2734
    2744 2747 274C 274E 2753-2755 2757 2763-2767 2795-2797 27A1 27B0 27BF 2934-2935 2B05-2B07 2B1B-2B1C 2B50 2B55 3030
    303D 3297 3299 1F000-1F02B 1F030-1F093 1F0A0-1F0AE 1F0B1-1F0BF 1F0C1-1F0CF 1F0D1-1F0F5 1F10D-1F10F 1F12F
    1F16C-1F171 1F17E-1F17F 1F18E 1F191-1F19A 1F1AD 1F201-1F202 1F21A 1F22F 1F232-1F23A 1F250-1F251 1F260-1F265
    1F300-1F3FA 1F400-1F53D 1F546-1F64F 1F680-1F6D7 1F6DC-1F6EC 1F6F0-1F6FC 1F774-1F776 1F77B-1F77F 1F7D5-1F7D9
    1F7E0-1F7EB 1F7F0 1F8B0-1F8B1 1F90C-1F93A 1F93C-1F945 1F947-1FA53 1FA60-1FA6D 1FA70-1FA7C 1FA80-1FA88 1FA90-1FABD
    1FABF-1FAC5 1FACE-1FADB 1FAE0-1FAE8 1FAF0-1FAF8""")
NOT_SEEN = points("""AD 34F 61C 115F-1160 17B4-17B5 180B-180F 200B-200F 202A-202E 20E3 2060-2064 2066-206F 3164 FE00-FE0F
    FEFF FFA0 1BCA0-1BCA3 1D173-1D17A E0001 E0020-E007F E0100-E01EF""")  # default ignorable, and a keycap's frame
SAME = {ord(c): to for to, some in (("'", "`´\u1ffdʼ‘’‛′"), ('"', "«»“”„‟"), ("-", "‐‑‒–—―−"), (" ", "\u2800")) for c in some}
ENTITIES = dict(amp="&", lt="<", gt=">", quot='"', apos="'", nbsp=" ", hellip="…", ndash="–", mdash="—", lsquo="‘", rsquo="’",
                ldquo="“", rdquo="”", laquo="«", raquo="»", bull="•", middot="·", copy="©", reg="®", trade="™", euro="€",
                pound="£", cent="¢", yen="¥", deg="°", times="×", hearts="♥")
ENTITY = re.compile("#x([0-9a-f]+);|#([0-9]+);|(%s);" % "|".join(ENTITIES), re.I | re.A)
ESCAPE = re.compile(r'n|"|u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})|u([0-9a-f]{4})', re.I | re.A)


# --- code points ----------------------------------------------------------------------------------


def character(c):
    if c > 0x10FFFF or 0xD800 <= c < 0xE000:
        return "\ufffd"
    return bytes([c]).decode("cp1252", "ignore") or chr(c) if 0x80 <= c < 0xA0 else chr(c)


def entity(found):
    hexadecimal, decimal, name = found.groups()
    return ENTITIES[name.lower()] if name else character(int(hexadecimal, 16) if hexadecimal else int(decimal))


def escape(found):
    high, low, one = found.groups()
    if high:
        return chr(0x10000 + (int(high, 16) - 0xD800 << 10) + int(low, 16) - 0xDC00)
    c = int(one, 16) if one else 0
    return ("\ufffd" if 0xD800 <= c < 0xE000 else chr(c)) if one else "\n" if found[0] == "n" else '"'


def read(text):
    """Its characters, entities and escapes resolved to their end: &amp;lt; is <."""
    at = 0
    while at < len(text):
        c, at = text[at], at + 1
        while found := (ENTITY if c == "&" else ESCAPE).match(text, at) if c in "&\\" else None:
            c, at = (entity if c == "&" else escape)(found), found.end()
        yield c if c != "\0" else "\ufffd"


def same(c):
    return " " if c < " " or "\x7f" <= c <= "\xa0" else SAME.get(ord(c), c)


def decomposed(text):
    """A list of characters: NFKD, without what is not seen."""
    out, marks, joined = [], 0, False
    for c in read(text):
        joined = joined or c == "\u200d"
        detail = "\U0001f3fb" <= c <= "\U0001f3ff" or (joined and c in "♀♂")
        if ord(c) in NOT_SEEN or (detail and out and kind(out[-1]) == "emoji"):
            continue
        joined = False
        c = same(c)
        parts = unicodedata.normalize("NFKD", c)
        for part in [c] if len(parts) > 1 and parts[0] == " " else map(same, parts):  # a spacing accent stays
            marks = marks + 1 if kind(part) == "mark" else 0
            if marks <= 8:
                out.append(part)
    for is_mark, group in itertools.groupby(range(len(out)), key=lambda i: unicodedata.combining(out[i]) > 0):
        group = list(group)
        if is_mark and len(group) > 1:
            out[group[0]:group[-1] + 1] = sorted((out[i] for i in group), key=unicodedata.combining)
    return out


KINDS = {"L": "letter", "M": "mark", "N": "digit", "Z": "space"}


def kind(c):
    if c < "\x80":
        return "letter" if c.isalpha() else "digit" if c.isdigit() else "space" if c == " " else "sign"
    if ord(c) in EMOJI:
        return "emoji"
    return "flag" if "\U0001f1e6" <= c <= "\U0001f1ff" else KINDS.get(unicodedata.category(c)[0], "sign")


# --- tokens ---------------------------------------------------------------------------------------


def lower(c):
    small = c.lower()
    return small if len(small) == 1 else c


class Cleaner:
    def __init__(self, text):
        self.p = decomposed(text)
        self.n = len(self.p)
        self.s = "".join(self.p)
        self.kinds = [kind(c) for c in self.p]
        self.out = []

    def kind(self, i):
        return self.kinds[i] if 0 <= i < self.n else "space"

    def is_word(self, i):
        return self.kind(i) in ("letter", "mark", "digit")

    def at(self, i):
        return self.p[i] if 0 <= i < self.n else ""

    def starts(self, i, word):
        return self.s[i:i + len(word)].lower() == word

    def run_end(self, i, fold=False):
        k = i
        while k < self.n and (self.p[k] == self.p[i] or (fold and self.p[k].isascii() and self.p[k].lower() == self.p[i].lower())):
            k += 1
        return k

    # words

    def word(self, i, end):
        """In lower case, composed, at most three of a repeated letter."""
        letters = unicodedata.normalize("NFC", "".join(lower(c) for c in self.p[i:end] if c != "_"))
        runs = ["".join(run) for _, run in itertools.groupby(letters)]
        return "".join(run if kind(run[0]) == "digit" else run[:3] for run in runs)

    def put_word(self, i, end):
        word = self.word(i, end)
        self.out.append("http" if word == "https" else word)

    def url_end(self, i):
        end = i
        while end < self.n and (("!" <= self.p[end] <= "~" and self.p[end] not in '"<>\\^`{|}')
                                or (end > i and self.kind(end) == "mark")):
            end += 1
        while end > i and self.p[end - 1] in ".,!?;:'()[]*":
            end -= 1
        return end

    def link_end(self, i):
        if self.starts(i, "http"):
            end = i + 5 if lower(self.at(i + 4)) == "s" else i + 4
            if not self.is_word(end):
                return self.url_end(end + 1) if self.at(end) == ":" else end
        if self.starts(i, "www.") and self.is_word(i + 4):
            return self.url_end(i + 4)
        return self.url_end(i + 5) if self.starts(i, "t.co/") else 0

    def is_link(self, i):
        return self.starts(i, "http://") or self.starts(i, "https://")

    def joins(self, i):
        c, before, behind = self.p[i], self.p[i - 1], self.at(i + 1)
        digit = lambda x: x.isascii() and x.isdigit()
        if c == "'":
            return self.is_word(i - 1) and not digit(before) and self.kind(i + 1) == "letter" and not self.is_link(i + 1)
        return c in ".,:/" and digit(before) and digit(behind)

    def take_word(self, i):
        end = self.link_end(i)
        if end:
            self.out.append("http")
            return end
        end = i + 1
        while end < self.n and (self.is_word(end) or self.joins(end)) and not self.is_link(end):
            end += 1
        self.put_word(i, end)
        return end

    # users and tags

    def is_name(self, i):
        c = self.at(i)
        return c != "" and c.isascii() and (c.isalnum() or c == "_") and self.kind(i + 1) != "mark"

    def is_user(self, i):
        return self.is_name(i + 1) and not self.is_word(i - 1)

    def is_tag(self, i):
        i += self.at(i) == "_"
        return self.kind(i) in ("letter", "digit")

    def begins_part(self, start, k, end):
        is_upper = lambda i: lower(self.p[i]) != self.p[i]
        before, behind = k - 1, k + 1
        if self.p[before] == "_":
            return True
        if not is_upper(k):
            return False
        while before > start and self.kind(before) == "mark":
            before -= 1
        if not is_upper(before):
            return True
        while behind < end and self.kind(behind) == "mark":
            behind += 1
        return behind < end and not is_upper(behind) and self.kind(behind) == "letter"

    def take_tag(self, i):
        start = part = end = i + 2 if self.p[i + 1] == "_" else i + 1
        while end < self.n and (self.is_tag(end) if self.p[end] == "_" else self.is_word(end)):
            end += 1
        self.out.append("#" + self.word(start, end))
        for k in range(start + 1, end + 1):
            if part != start if k == end else self.begins_part(start, k, end):
                self.put_word(part, k)
                part = k
        return end

    # emoticons

    def heart(self, i):
        broken = self.at(i + 1) == "/"
        k = i + 1 + broken
        if self.at(k) != "3":
            return None
        k = self.run_end(k)
        if self.kind(k) == "digit" or (self.at(k) in (".", ",") and self.kind(k + 1) == "digit"):
            return None
        return "</3" if broken else "<3", k

    def face(self, i):
        k = i + 1
        tear = self.at(k) == "'"
        k += tear
        k += self.at(k) == "-"
        c = self.at(k)
        mouth = {")": ")", "]": ")", "(": "(", "[": "(", "/": "/", "\\": "/"}.get(c) or (c.lower() if c and c in "dpoDPO|*" else "")
        if not mouth or (tear and mouth not in "()"):
            return None
        end = k + 1 if mouth in "/|*" else self.run_end(k, fold=True)
        before, behind = self.kind(i - 1), self.kind(end)
        if self.p[i] == "=" and before != "space":
            return None
        if mouth not in "()":
            if before == "digit" or (behind != "space" if mouth in "/|*" else self.is_word(end)):
                return None
        return (";" if self.p[i] == ";" else ":") + "'" * tear + mouth * min(2, end - k), end

    def reversed_face(self, i):
        k = i + 1 + (self.at(i + 1) == "-")
        if self.kind(i - 1) != "space" or self.at(k) not in (":", ";", "=") or self.kind(k + 1) != "space":
            return None
        return (";" if self.p[k] == ";" else ":") + (")" if self.p[i] == "(" else "("), k + 1

    def closed_eyes(self, i):
        right = "<" if self.p[i] == ">" else self.p[i]
        if self.at(i + 1) not in ("_", "."):
            return None
        k = self.run_end(i + 1) if self.p[i + 1] == "_" else i + 2
        return ({"^": "^_^", "-": "-_-", "<": ">_<"}[right], k + 1) if self.at(k) == right else None

    def arms(self, i):
        return next(((t, i + 3) for t in ("\\o/", "\\m/") if self.starts(i, t)), None)

    FACES = {"<": heart, ":": face, ";": face, "=": face, "(": reversed_face, ")": reversed_face, "^": closed_eyes,
             "-": closed_eyes, ">": closed_eyes, "\\": arms}

    # signs

    def take_sign(self, i):
        c, end = self.p[i], self.run_end(i)
        struck = unicodedata.normalize("NFC", c + self.p[i + 1]) if self.kind(i + 1) == "mark" else ""
        if len(struck) == 1:
            self.out.append(struck)
            return i + 2
        if end - i > 1 and ((c == "@" and self.is_user(end - 1)) or (c == "#" and self.is_tag(end))):
            end -= 1
        self.out.append(c * min(end - i, 1 if c == '"' else 3))
        return end

    def take(self, i):
        c, what = self.p[i], self.kinds[i]
        if what == "space":
            return i + 1
        if self.is_word(i):
            return self.take_word(i)
        if what == "emoji":
            end = self.run_end(i)
            self.out += [c] * min(3, end - i)
            return end
        if what == "flag":
            end = i + 1 + (self.kind(i + 1) == "flag")
            self.out.append(self.s[i:end])
            return end
        if c == "@" and self.is_user(i):
            end = i + 1
            while self.is_name(end):
                end += 1
            self.out.append("@user")
            return end
        if c == "#" and self.is_tag(i + 1):
            return self.take_tag(i)
        found = self.FACES[c](self, i) if c in self.FACES else None
        if not found:
            return self.take_sign(i)
        self.out.append(found[0])
        return found[1]


def clean(message):
    """Of a message, bytes or str: its tokens with single spaces between them."""
    w, i = Cleaner(message.decode("utf-8", "replace") if isinstance(message, bytes) else message), 0
    while i < w.n:
        i = w.take(i)
    return " ".join(w.out)
