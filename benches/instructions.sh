#!/usr/bin/env bash
# Counts the instructions of benches/instructions.rs under callgrind and compares them with
# benches/instructions.json: an error where a kernel takes over 3 % more than it did. A kernel that
# takes less, or a new compiler, is written down with --update.
#
#   benches/instructions.sh [--update]
#
# Needs valgrind and python3. The counts are of x86-64; elsewhere nothing is compared.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ $(uname -m) != x86_64 ]]; then
  echo "instructions.sh: the counts are of x86-64, this is $(uname -m): skipped" >&2
  exit 0
fi
program=$(cargo bench --quiet --bench instructions --no-run --message-format=json |
  sed -n 's/.*"name":"instructions".*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
"$program" | while read -r kernel; do
  count=$(valgrind --tool=callgrind --callgrind-out-file=/dev/null --collect-atstart=no \
    --toggle-collect='*measured*' "$program" "$kernel" </dev/null 2>&1 |
    sed -n 's/.*Collected : //p')
  printf '%s\t%s\n' "$kernel" "$count"
done | python3 -c '
import json, sys

path, limit = "benches/instructions.json", 1.03
now = {name: int(count) for name, count in (line.rstrip("\n").split("\t") for line in sys.stdin)}
if "--update" in sys.argv:
    with open(path, "w") as file:
        json.dump(now, file, indent=2, ensure_ascii=False)
        file.write("\n")
before = json.load(open(path))
print("| kernel | instructions | before | ratio |\n|---|---:|---:|---:|")
for name, count in now.items():
    was = before.get(name, 0)
    print(f"| {name} | {count:,} | {was:,} | {count / max(was, 1):.3f} |")
worse = [name for name, count in now.items() if count > limit * before.get(name, 0)]
missing = sorted(before.keys() - now.keys())
if worse or missing or not now:
    sys.exit(f"instructions.sh: more instructions than before: {worse}; not run: {missing}")
' "$@"
