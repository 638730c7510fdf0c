#!/usr/bin/env python3
"""Makes vectors.json: keys of this format, good and bad, and what follows from each.

    python3 pkg/apikey/testdata/vectors.py > pkg/apikey/vectors.json

It is written from the description in the package comment of apikey and shares nothing
with the Go code, so that the two check each other; standard library only. Its output is
the same on every run: the "random" parts come from SHA-256 of a counter. No key or
pepper in it was ever a real one.

A bad key has the one fault that "bad" names: where that is a separator, a prefix, an id
or a secret, lengths and checksum are right for the faulty string, so that only a check of
this very thing refuses it.

    length      too short or too long somewhere
    separator   no underscore where one belongs
    prefix      the prefix breaks its rule
    id          a character of the id is not base62
    secret      a character of the secret is not base62
    checksum    the last six characters do not fit the rest
"""

import hashlib
import hmac
import json
import sys
import zlib

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PREFIXES = ["kr_live", "kr_stage", "kr_dev", "ml_live", "ml_dev", "ml_prod", "ml_sand", "mk"]
PEPPERS = {
    "t1": "synthetic-pepper-number-one-for-tests-only",
    "t2": "synthetic-pepper-number-two-for-tests-only",
}


def base62(number, width, alphabet=ALPHABET):
    digits = ""
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits = alphabet[digit] + digits
    return digits


def checksum(text):
    return base62(zlib.crc32(text.encode()), 6)


def sealed(text):
    """text and its right checksum"""
    return text + checksum(text)


class Source:
    """Repeatable stand-in for a random source."""

    def __init__(self, label):
        self.label, self.counter, self.pool = label, 0, b""

    def chars(self, count):
        out = ""
        while len(out) < count:
            if not self.pool:
                self.pool = hashlib.sha256(f"{self.label}/{self.counter}".encode()).digest()
                self.counter += 1
            byte, self.pool = self.pool[0], self.pool[1:]
            if byte < 248:  # 4 * 62
                out += ALPHABET[byte % 62]
        return out


def hkdf(secret, info, length, salt=b""):
    """RFC 5869 with SHA-256"""
    prk = hmac.new(salt or bytes(32), secret, hashlib.sha256).digest()
    out, block, n = b"", b"", 1
    while len(out) < length:
        block = hmac.new(prk, block + info.encode() + bytes([n]), hashlib.sha256).digest()
        out, n = out + block, n + 1
    return out[:length]


def digest(pepper, key):
    sub = hkdf(PEPPERS[pepper].encode(), "keyreeve/digest/v1", 32)
    return hmac.new(sub, key.encode(), hashlib.sha256).hexdigest()


def good(prefix, name, key_id, random, pepper):
    key = sealed(f"{prefix}_{key_id}_{random}")
    return {
        "prefix": prefix, "name": name, "key": key,
        "id": key_id, "random": random, "checksum": key[-6:],
        "pepper": pepper, "digest": digest(pepper, key),
        "mask": f"{prefix}_{key_id[:3]}****", "accountMask": f"{prefix}_{key_id[:4]}",
    }


def good_keys(prefix):
    source = Source("good/" + prefix)
    for n in range(1, 7):
        yield good(prefix, f"drawn {n}", source.chars(8), source.chars(26), "t1")
    key_id, random = source.chars(8), source.chars(26)
    yield good(prefix, "one key, first pepper", key_id, random, "t1")
    yield good(prefix, "one key, second pepper", key_id, random, "t2")
    yield good(prefix, "lowest characters", "0" * 8, "0" * 26, "t1")
    yield good(prefix, "highest characters", "z" * 8, "z" * 26, "t1")
    yield good(prefix, "upper case only", "ABCDEFGH", ALPHABET[10:36], "t1")
    yield good(prefix, "lower case only", "abcdefgh", ALPHABET[36:], "t1")
    yield good(prefix, "id that looks like a prefix", "mk1live2", source.chars(26), "t2")
    for zeros in (1, 2):  # the checksum is padded on the left
        while True:
            key_id, random = source.chars(8), source.chars(26)
            if checksum(f"{prefix}_{key_id}_{random}").startswith("0" * zeros):
                break
        yield good(prefix, f"checksum starts with {'0' * zeros}", key_id, random, "t1")


def bad_keys(prefix):
    source = Source("bad/" + prefix)
    key_id, random = source.chars(8), source.chars(26)
    body = f"{prefix}_{key_id}_{random}"
    key = sealed(body)
    total = checksum(body)
    other = "mk" if prefix != "mk" else "kr_live"
    turned = total[::-1]
    swapped_case = ALPHABET[:10] + ALPHABET[36:] + ALPHABET[10:36]

    def next_char(c):
        return ALPHABET[(ALPHABET.index(c) + 1) % 62]

    def swap(text, i):
        assert text[i] != text[i + 1]
        return text[:i] + text[i + 1] + text[i] + text[i + 2:]

    checksums = [
        ("last digit off by one", key[:-1] + next_char(key[-1])),
        ("first digit off by one", body + next_char(total[0]) + total[1:]),
        ("digits in the wrong order", body + turned),
        ("digits of another alphabet", body + base62(zlib.crc32(body.encode()), 6, swapped_case)),
        ("zeros", body + "000000"),
        ("of the random part alone", body + checksum(random)),
        ("of the rest without the prefix", body + checksum(f"{key_id}_{random}")),
        ("prefix replaced", other + key[len(prefix):]),
        ("first character of the id changed", f"{prefix}_{next_char(key_id[0])}{key[len(prefix) + 2:]}"),
        ("first random character changed", f"{prefix}_{key_id}_{next_char(random[0])}{random[1:]}{total}"),
        ("last random character changed", body[:-1] + next_char(body[-1]) + total),
        ("two neighbours swapped", swap(body, len(body) - 10) + total),
    ]
    for name, text in checksums:
        assert text != key, name
        yield "checksum", name, text

    yield "id", "hyphen in the id", sealed(f"{prefix}_{key_id[:4]}-{key_id[5:]}_{random}")
    yield "id", "underscore in the id", sealed(f"{prefix}_{key_id[:4]}_{key_id[5:]}_{random}")
    yield "id", "space in the id", sealed(f"{prefix}_{key_id[:7]} _{random}")
    yield "id", "two-byte letter in the id", sealed(f"{prefix}_{key_id[:6]}\u00e9_{random}")
    yield "secret", "hyphen in the secret", sealed(f"{prefix}_{key_id}_{random[:25]}-")
    yield "secret", "underscore in the secret", sealed(f"{prefix}_{key_id}_{random[:12]}_{random[13:]}")
    yield "secret", "space in the secret", sealed(f"{prefix}_{key_id}_ {random[1:]}")
    yield "secret", "comma in the secret", sealed(f"{prefix}_{key_id}_{random[:9]},{random[10:]}")
    yield "secret", "NUL in the secret", sealed(f"{prefix}_{key_id}_{random[:9]}\x00{random[10:]}")
    yield "secret", "line feed in the secret", sealed(f"{prefix}_{key_id}_{random[:25]}\n")
    yield "secret", "three-byte digit in the secret", sealed(f"{prefix}_{key_id}_{random[:23]}\uff11")
    yield "separator", "hyphen after the prefix", sealed(f"{prefix}-{key_id}_{random}")
    yield "separator", "hyphen after the id", sealed(f"{prefix}_{key_id}-{random}")
    yield "separator", "letter after the prefix", sealed(f"{prefix}x{key_id}_{random}")
    yield "length", "empty", ""
    yield "length", "prefix and id alone", f"{prefix}_{key_id}"
    yield "length", "no prefix", sealed(f"_{key_id}_{random}")
    yield "length", "no prefix and no underscore", sealed(f"{key_id}_{random}")
    yield "length", "id one short", sealed(f"{prefix}_{key_id[:7]}_{random}")
    yield "length", "id one long", sealed(f"{prefix}_{key_id}x_{random}")
    yield "length", "secret one short", sealed(f"{prefix}_{key_id}_{random[:25]}")
    yield "length", "secret one long", sealed(f"{prefix}_{key_id}_{random}x")
    yield "length", "prefix of 33 characters", sealed(f"{prefix}{'x' * (33 - len(prefix))}_{key_id}_{random}")
    yield "prefix", "upper case", sealed(f"{prefix.upper()}_{key_id}_{random}")
    yield "prefix", "starts with a digit", sealed(f"1{prefix}_{key_id}_{random}")
    yield "prefix", "starts with an underscore", sealed(f"_{prefix}_{key_id}_{random}")
    yield "prefix", "ends with an underscore", sealed(f"{prefix}__{key_id}_{random}")
    yield "prefix", "hyphen inside", sealed(f"{prefix[:1]}-{prefix[1:]}_{key_id}_{random}")
    yield "prefix", "two-byte letter inside", sealed(f"{prefix}\u00e9_{key_id}_{random}")
    yield "prefix", "space in front of the key", sealed(f" {prefix}_{key_id}_{random}")
    yield "length", "line feed after the key", key + "\n"
    yield "length", "two keys joined by a comma", key + "," + key


def main():
    vectors = []
    for prefix in PREFIXES:
        vectors += good_keys(prefix)
        vectors += [
            {"prefix": prefix, "name": name, "key": key, "bad": fault}
            for fault, name, key in bad_keys(prefix)
        ]
    more = ["first part", "", "second part"]
    framed = b"".join(len(m).to_bytes(4, "big") + m.encode() for m in more)
    purposes = ["keyreeve/cursor/v1", "keyreeve/idempotency/v1"]
    json.dump({
        "about": "API keys of Keyreeve's format, made by testdata/vectors.py, which says what "
                 "the fields mean. All of them are synthetic.",
        "ring": {"current": "t2", "peppers": PEPPERS},
        "subkeys": [
            {"pepper": version, "purpose": purpose, "bytes": size,
             "subkey": hkdf(PEPPERS[version].encode(), purpose, size).hex()}
            for version in PEPPERS for purpose in purposes for size in (16, 32, 48)
        ],
        "derived": [
            {"pepper": version, "purpose": purpose, "bytes": 32, "more": more, "salt": salt.hex(),
             "subkey": hkdf(PEPPERS[version].encode() + framed, purpose, 32, salt).hex()}
            for version in PEPPERS for purpose in purposes for salt in (b"", bytes(range(16)))
        ],
        "vectors": vectors,
    }, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
