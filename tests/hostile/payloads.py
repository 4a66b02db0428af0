"""What hostile files are made of: texts, numbers, YAML and JSON that somebody wrote to do harm."""

from __future__ import annotations

import json

#: Stands for the folder outside everything that a run may write to; the run replaces it.
OUTSIDE = "@OUTSIDE@"

#: Texts for names, labels, images and values.
TEXTS: tuple[str, ...] = (
    f"$(touch {OUTSIDE}/shell)",
    f"`touch {OUTSIDE}/backtick`",
    f"; touch {OUTSIDE}/semicolon;",
    f"| touch {OUTSIDE}/pipe",
    f"x\ntouch {OUTSIDE}/line",
    f"--config={OUTSIDE}/option",
    "{{ .Values.secret }}",
    '{{ define "x" }}{{ end }}',
    "{{7*7}}{% include '/etc/passwd' %}",
    "${pulumi:secret}",
    "%s%n%x{0.__class__}",
    f"../../../../..{OUTSIDE}/up",
    f"{OUTSIDE}/absolute",
    "..\\..\\windows",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</title></svg><svg onload=alert(1)>",
    "]]><!--<iframe src='//evil.example'>",
    "[click](javascript:alert(1))",
    "![](http://evil.example/pixel.png)",
    "| a | b |\n| --- | --- |",
    "```\n# heading\n```",
    "</details><h1>done</h1>",
    "@everyone #1 http://evil.example",
    '"]; click n0 "javascript:alert(1)"',
    "=cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "-2+3+cmd|' /C calc'!A0",
    "\x1b[2J\x1b[31merror\x1b]0;owned\x07",
    "\x9b31mred\x9b0m",
    "\x08\x08\x08ok",
    "a\rerror: all is well",
    "safe\u202etxt.exe",
    "\u2066isolated\u2069\u200f",
    "zero\u200bwidth\u200d\u2060\ufeff",
    "\u0440\u0430ypal",
    "\u2028line\u2029paragraph",
    "\x00nul",
    "\ud800half",
    "\udcff\udcfe",
    "\U0001f4a9" * 40,
    "z̸̡̢̛͎̞̞̦̺̭̦̰̖͔̝̮̬" * 30,
    "A" * 100_000,
    "ﷺ" * 2000,
    "",
    " ",
    "null",
    "__proto__",
    "__import__('os').system('id')",
    "' OR 1=1 --",
)

#: Numbers as YAML or JSON spells them.
NUMBERS: tuple[str, ...] = (
    "1e999",
    "-1e999",
    "1" + "0" * 400,
    "9" * 5000,
    "-1",
    "-0.0",
    "0",
    "1e-400",
    "0.1e308",
    "9223372036854775808",
    "340282366920938463463374607431768211456",
    "true",
    "null",
    "[]",
    "{}",
    '"1e999"',
    '"NaN"',
    '"-1"',
    '"1_000"',
    '"٣"',
    '"0x10"',
    '" 5 "',
)
#: Not JSON, though Python's reader takes them.
NOT_JSON_NUMBERS = ("NaN", "Infinity", "-Infinity")
YAML_NUMBERS = (".nan", ".inf", "-.inf", "0x7fffffffffffffffff", "1:2:3:4:5:6:7:8", "0b1", "0o7", "1_0", "2026-13-45")


def lol(levels: int = 9, wide: int = 9) -> str:
    """The billion laughs: a few hundred bytes that mean `wide` to the power of `levels` texts."""
    lines = ["a0: &a0 [" + ",".join(['"lol"'] * wide) + "]"]
    lines += [f"a{level}: &a{level} [" + ",".join([f"*a{level - 1}"] * wide) + "]" for level in range(1, levels)]
    return "\n".join(lines) + "\n"


def merges(levels: int = 22) -> str:
    """The same of mappings, by merge keys."""
    lines = ["m0: &m0 {k: v}"]
    lines += [f"m{level}: &m{level} {{<<: [*m{level - 1}, *m{level - 1}], k{level}: 1}}" for level in range(1, levels)]
    return "\n".join(lines) + "\n"


TAGS = (
    f'!!python/object/apply:os.system ["touch {OUTSIDE}/tag"]',
    f'!!python/object/new:subprocess.Popen [["touch", "{OUTSIDE}/popen"]]',
    f"!!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{OUTSIDE}/path']]",
    "!!python/name:os.system",
    "!!python/module:os",
    "!!binary aGVsbG8=",
    "!!set {a, b}",
    "!!omap [a: 1]",
    "!!timestamp 2026-99-99",
    "!!int x",
    "!!float x",
    "!!bool x",
    "!!null x",
    "!!str [a]",
    "!!map [a]",
    "!custom {a: 1}",
    "!<tag:yaml.org,2002:python/tuple> [1, 2]",
)

#: Whole files of YAML that no key path would help against.
YAML_FILES: dict[str, bytes] = {
    "empty": b"",
    "nul": b"\x00",
    "nuls": b"\x00" * 5000,
    "comment": b"# nothing\n",
    "scalar": b"hello\n",
    "list": b"- a\n- b\n",
    "null": b"null\n",
    "bomb": lol().encode(),
    "merge-bomb": merges().encode(),
    "self": b"a: &a [*a]\n",
    "self-key": b"&a ? *a : b\n",
    "undefined-alias": b"a: *b\n",
    "many-anchors": b"".join(b"k%d: &a%d x\n" % (n, n) for n in range(5000)),
    "deep-flow": b"a: " + b"[" * 20_000,
    "deep-flow-closed": b"a: " + b"[" * 5000 + b"]" * 5000,
    "deep-map": b"a: " + b"{a: " * 5000 + b"1" + b"}" * 5000,
    "deep-block": b"".join(b" " * n + b"k:\n" for n in range(1200)),
    "deep-dashes": b"- " * 20_000 + b"x",
    "wide": b"".join(b"k%d: 1\n" % n for n in range(60_000)),
    "long-key": b"k" * 900_000 + b": 1\n",
    "long-value": b"k: " + b"v" * 1_000_000 + b"\n",
    "question-key": b"? " + b"x" * 2000 + b"\n: 1\n",
    "complex-key": b"? [a, b]\n: 1\n? {a: b}\n: 2\n",
    "too-large": b"# " + b"x" * (3 << 20) + b"\n",
    "very-large": b"k: |\n" + b"  0123456789abcdef\n" * (1 << 19),
    "same-key": b"project: a\nproject: b\n",
    "same-key-escaped": b'project: a\n"\\u0070roject": b\n',
    "documents": b"a: 1\n---\nb: 2\n",
    "many-documents": b"---\n" * 5000,
    "directive": b"%YAML 9.9\n---\na: 1\n",
    "tag-directive": b"%TAG ! tag:evil.example,2000:\n---\n!x a: 1\n",
    "bom": b"\xef\xbb\xbfproject: cloudmart\n",
    "bom-twice": b"\xef\xbb\xbf\xef\xbb\xbfproject: cloudmart\n",
    "utf16": "project: cloudmart\n".encode("utf-16"),
    "utf16-be": b"\xfe\xff" + "project: cloudmart\n".encode("utf-16-be"),
    "utf32": "project: cloudmart\n".encode("utf-32"),
    "utf16-without-mark": "project: cloudmart\n".encode("utf-16-le"),
    "latin1": "project: caf\xe9\n".encode("latin-1"),
    "overlong": b"project: \xc0\xaf\n",
    "surrogate": b"project: \xed\xa0\x80\n",
    "cut-character": b"project: \xe2\x82",
    "escaped-surrogate": b'project: "\\ud800"\n',
    "escaped-nul": b'project: "\\0"\n',
    "escaped-huge": b'project: "\\UFFFFFFFF"\n',
    "tabs": b"a:\n\t- b\n",
    "carriage": b"a: 1\r\rb: 2\r",
    "separators": "a: 1\u2028b: 2\u2029c: 3\x85d: 4\n".encode(),
    "open-quote": b'a: "' + b"x" * 100_000,
    "binary": bytes(range(256)) * 40,
    "elf": b"\x7fELF\x02\x01\x01" + b"\x00" * 500,
    "gzip": b"\x1f\x8b\x08" + b"\x00" * 500,
    "shell": f"#!/bin/sh\ntouch {OUTSIDE}/script\n".encode(),
    "json-with-comment": b'{"project": "a" /* x */}',
    **{f"tag-{index}": f"project: {tag}\n".encode() for index, tag in enumerate(TAGS)},
    **{f"tag-top-{index}": f"{tag}\n".encode() for index, tag in enumerate(TAGS[:6])},
    **{f"number-{index}": f"project: {number}\n".encode() for index, number in enumerate((*NUMBERS, *YAML_NUMBERS))},
}

#: Whole files of JSON.
JSON_FILES: dict[str, bytes] = {
    "empty": b"",
    "nul": b"\x00",
    "scalar": b"1",
    "list": b"[]",
    "null": b"null",
    "text": b'"x"',
    "cut": b'{"a": ',
    "two": b"{}{}",
    "nan": b'{"a": NaN}',
    "infinity": b'{"a": -Infinity}',
    "huge-float": b'{"a": 1e999}',
    "huge-int": b'{"a": ' + b"9" * 20_000 + b"}",
    "deep-list": b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep-open": b"[" * 1_000_000,
    "deep-map": b'{"a": ' * 50_000 + b"1" + b"}" * 50_000,
    "same-key": b'{"all": "advisory", "all": "disabled"}',
    "surrogate": b'{"\\ud800": "\\udfff"}',
    "escape": b'{"\\u001b[2J": "\\u202e"}',
    "bom": b"\xef\xbb\xbf{}",
    "utf16": "{}".encode("utf-16"),
    "invalid": b'{"a": "\xff\xfe"}',
    "overlong": b'{"\xc0\xaf": 1}',
    "comment": b"{/* x */}",
    "single": b"{'a': 1}",
    "long-key": b'{"' + b"k" * 3_000_000 + b'": 1}',
    "many-lists": b'{"a": [' + b"[]," * 12_000_000 + b"[]]}",
    "many-keys": json.dumps({f"k{n}": n for n in range(100_000)}).encode(),
    "large": b'{"a": "' + b"x" * (100 << 20) + b'"}',
    "html": b"<!doctype html><script>alert(1)</script>",
    "binary": bytes(range(256)) * 40,
}
