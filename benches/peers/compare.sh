#!/usr/bin/env bash
# Training steps of ours and of PyTorch by turns, each in a process of its own, and one table.
#
#   PYTHON=python3 ROUNDS=3 benches/peers/compare.sh [WORKLOAD...]
#   PEERS="burn candle" benches/peers/compare.sh [WORKLOAD...]      of these two as well
#
# PYTHON is one with torch and transformers. PEERS are built from benches/peers/rust for this CPU.
set -euo pipefail
cd "$(dirname "$0")/../.."

python=${PYTHON:-python3}
workloads=("$@")
if ((${#workloads[@]} == 0)); then
  workloads=(mlp lenet resnet20 resnet18 mobilenet_v2 vgg16 minilm minilm_frozen gpt lstm adamw_25m)
fi
cargo build --quiet --release --example train_speed
ours=${CARGO_TARGET_DIR:-target}/release/examples/train_speed
rust=$(realpath -m "${CARGO_TARGET_DIR:-benches/peers/rust/target}")
if [[ -n ${PEERS:-} ]]; then
  # From that folder, so that cargo reads its .cargo/config.toml.
  (cd benches/peers/rust && CARGO_TARGET_DIR=$rust cargo build --quiet --release --locked)
fi
lines=$(mktemp)
trap 'rm -f "$lines"' EXIT
# One step of the mlp in a process of its own, and how long that took.
start() {
  local whose=$1 begun=$EPOCHREALTIME
  "${@:2}" --first-step mlp >/dev/null
  awk -v whose="$whose" -v begun="$begun" -v ended="$EPOCHREALTIME" \
    'BEGIN { printf "{\"start\": \"%s\", \"seconds\": %f}\n", whose, ended - begun }' >>"$lines"
}
for _ in $(seq "${ROUNDS:-3}"); do
  start ours "$ours"
  start theirs "$python" benches/peers/train_speed.py
  for workload in "${workloads[@]}"; do
    "$ours" "$workload" | tee -a "$lines" >&2
    "$python" benches/peers/train_speed.py "$workload" | tee -a "$lines" >&2
    for peer in ${PEERS:-}; do
      speed=$rust/release/${peer}_speed
      # Not every peer can run every workload.
      if grep -qx "$workload" <<<"$("$speed" --list)"; then
        "$speed" "$workload" | tee -a "$lines" >&2
      fi
    done
  done
done
"$python" benches/peers/train_speed.py --table "$lines"
