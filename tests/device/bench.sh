#!/usr/bin/env bash
# Times emberl and torch, transformers and TRL on the same work, back to back.
#
# usage: tests/device/bench.sh FOLDER MINUTES [options of `peers.py compare`]
#
# FOLDER holds builds of examples/throughput: `throughput` for the peers' device, and for further ones
# `throughput-cuda`, `throughput-vulkan` (SPIR-V) and `throughput-wgpu` (WGSL). Begins nothing after MINUTES,
# prints a table of ratios and, if OUT names a folder, writes JSON lines there. On a GPU, for example:
#
#   tests/device/bench.sh builds 9 --device cuda --dtype bfloat16 --cases decode,train \
#     --model tests/device/models/qwen2.5-0.5b
#   tests/device/bench.sh builds 9 --device cuda --dtype bfloat16 --cases grpo --shapes 64x128+128,64x256+512 \
#     --model tests/device/models/qwen3-0.6b --rounds 1
#   tests/device/bench.sh builds 9 --suite scaling
set -euo pipefail

folder=${1:?usage: tests/device/bench.sh FOLDER MINUTES [options]}
minutes=${2:?usage: tests/device/bench.sh FOLDER MINUTES [options]}
shift 2

programs=()
[[ -x $folder/throughput ]] && programs+=("$folder/throughput")
for device in cuda vulkan wgpu; do
  [[ -x $folder/throughput-$device ]] && programs+=("$device:0=$folder/throughput-$device")
done
[[ ${#programs[@]} -gt 0 ]] || { echo "$folder: holds no build of examples/throughput" >&2; exit 2; }

# Kernels are tuned once for all processes.
export EMBERL_CACHE=${EMBERL_CACHE:-$(mktemp -d)}
# The program reads files of this repository, wherever it was built.
export CARGO_MANIFEST_DIR=$PWD
exec "${PYTHON:-python3}" "$(dirname "$0")/peers.py" compare "${programs[@]}" --minutes "$minutes" "$@"
