"""Turns the page into what the binary holds: pack.py VERSION PAGE OUTPUT.c. Comments and indentation go, the policy of
what the page may do (Content-Security-Policy) gets the hashes of its script and its style, and gzip does the rest."""

import base64
import gzip
import hashlib
import pathlib
import re
import sys

POLICY = ("default-src 'none'; script-src '{script}'; style-src '{style}'; img-src data:; connect-src 'self'; "
          "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
          "trusted-types 'none'")


def shortened(page):
    """The page has no text that spans lines and begins with white space, and no strings with these comments."""
    return re.sub(r"\n\s+", "\n", re.sub(r"/\*.*?\*/", "", page, flags=re.DOTALL))


def hash_of(page, element):
    (content,) = re.findall(f"<{element}>(.*?)</{element}>", page, re.DOTALL)
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def main():
    version, source, output = sys.argv[1:]
    page = shortened(pathlib.Path(source).read_text(encoding="utf-8").replace("@VERSION@", version))
    policy = POLICY.format(script=hash_of(page, "script"), style=hash_of(page, "style"))
    packed = gzip.compress(page.encode(), 9, mtime=0)
    numbers = ",".join(str(byte) for byte in packed)
    pathlib.Path(output).write_text(f"""#include "api/page.h"

const unsigned char page_gzip[] = {{{numbers}}};
const size_t page_gzip_len = {len(packed)}, page_len = {len(page.encode())};
const char page_policy[] = "{policy}";
""", encoding="ascii")


main()
