#!/usr/bin/env bash
# Checks and times a build on a machine with a real GPU.
#
# usage: tests/device/check.sh FOLDER
#
# FOLDER holds the two programs of a release build, stripped: `emberl` and `integration` (the test
# binary, from `cargo test --release --no-run`). Runs in the repository's root; needs nothing else.
set -uo pipefail

folder=${1:?usage: tests/device/check.sh FOLDER}
emberl=$folder/emberl
out=$(mktemp -d)
failed=0

section() { printf '\n== %s\n' "$*"; }
run() { "$@" || { echo "FAILED ($?): $*"; failed=1; }; }

section "devices"
run "$emberl" devices

section "every device against the CPU"
run timeout 900 "$emberl" devices --check

section "recorded numbers and shaders on the GPU"
export CARGO_MANIFEST_DIR=$PWD
export EMBERL_ORACLE=${EMBERL_ORACLE:-$PWD/tests/fixtures/oracle}
EMBERL_REQUIRE_WGPU=1 run timeout 300 "$folder/integration" oracle::gpu --test-threads 1 --nocapture
EMBERL_REQUIRE_WGPU=1 run timeout 300 "$folder/integration" shaders::wgpu --test-threads 1 --nocapture

section "a short run of the example, GPU then CPU"
for device in auto cpu; do
  SECONDS=0
  run timeout 240 "$emberl" run examples/r1_zero/recipe.toml --device "$device" --quiet \
    --out "$out/$device" --set stage.pretrain.steps=200 --set stage.grpo.steps=10 --set eval.problems=16
  echo "$device: $SECONDS s"
done

rm -rf "$out"
exit $failed
