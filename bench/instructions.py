"""Instructions per query of five workloads (bench/queries.c), counted by callgrind: the same on every machine of one kind.

    instructions.py BINARY NUMBERS             fails when one needs more than 5 % above the number kept
    instructions.py BINARY NUMBERS --keep      keeps what is measured
    instructions.py BINARY --functions KIND    the functions that take most
"""

import json
import re
import subprocess
import sys
import tempfile

KINDS = ("allowed", "denied", "hit", "learn", "malformed")
TOLERANCE = 1.05
SHOWN = 25


def run(binary, kind, folder):
    """Instructions per query, and callgrind's profile."""
    profile = f"{folder}/{kind}"
    done = subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={profile}", "--collect-atstart=no",
                           "--toggle-collect=loop_run", "--toggle-collect=drive", binary, kind],
                          capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        sys.exit(f"{kind}: {done.stderr}")
    with open(profile, encoding="utf-8") as text:
        total = int(re.search(r"^(?:summary|totals): (\d+)", text.read(), re.M)[1])
    return total / int(done.stdout), profile


def show_functions(binary, kind, folder):
    per_query, profile = run(binary, kind, folder)
    lines = subprocess.run(["callgrind_annotate", profile], capture_output=True, text=True, check=True).stdout
    found = re.findall(r"^\s*([\d,]+) \(\s*([\d.]+)%\)\s+(\S+)", lines, re.M)
    print(f"{kind}: {per_query:.0f} instructions per query")
    for _, share, where in [one for one in found if not one[2].startswith("PROGRAM")][:SHOWN]:
        print(f"{per_query * float(share) / 100:8.0f}  {where.rpartition('/')[2]}")


def main():
    binary, numbers = sys.argv[1], sys.argv[2]
    with tempfile.TemporaryDirectory() as folder:
        if numbers == "--functions":
            show_functions(binary, sys.argv[3], folder)
            return
        measured = {kind: round(run(binary, kind, folder)[0]) for kind in KINDS}
    if "--keep" in sys.argv:
        with open(numbers, "w", encoding="utf-8") as text:
            text.write(json.dumps(measured, indent=4) + "\n")
        return
    with open(numbers, encoding="utf-8") as text:
        kept = json.load(text)
    slower = []
    for kind in KINDS:
        print(f"{kind:10} {measured[kind]:6} instructions per query, kept {kept[kind]:6}")
        if measured[kind] > kept[kind] * TOLERANCE:
            slower.append(kind)
    if slower:
        sys.exit(f"more than 5 % slower: {', '.join(slower)}; when that is meant, keep the new numbers (--keep)")


main()
