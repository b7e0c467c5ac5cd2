#!/usr/bin/env bash
# Checks and times a build on a machine with a real GPU.
#
# usage: tests/device/check.sh FOLDER
#
# FOLDER holds the programs of release builds, stripped: `emberl` and `integration` (the test binary,
# from `cargo test --release --no-run`), and those of further back ends as `emberl-cuda`,
# `emberl-vulkan` (SPIR-V) and `emberl-wgpu` (WGSL). The library's own tests of a back end, if there, are
# `library-cuda`, `library-vulkan` and `library-wgpu`. Runs in the repository's root; needs nothing else.
# Kernels are tuned in the cache folder that EMBERL_CACHE names, else in one that is removed.
set -uo pipefail

folder=${1:?usage: tests/device/check.sh FOLDER}
emberl=$folder/emberl
out=$(mktemp -d)
failed=0

section() { printf '\n== %s\n' "$*"; }
run() { "$@" || { echo "FAILED ($?): $*"; failed=1; }; }

export EMBERL_CACHE=${EMBERL_CACHE:-$out/cache}

programs=()
for program in "$emberl" "$folder"/emberl-{cuda,vulkan,wgpu}; do
  [[ -x $program ]] && programs+=("$program")
done
[[ ${#programs[@]} -gt 0 ]] || { echo "$folder: holds no \`emberl\`" >&2; exit 2; }
emberl=${programs[0]}

# Every device that the build reaches, in f32 (TF32 on CUDA) and in the half precision it takes by
# itself; where it takes none, in f16 too.
for program in "${programs[@]}"; do
  section "${program##*/}: devices"
  run "$program" devices
  section "${program##*/}: every device against the CPU"
  run timeout 900 "$program" devices --check
done
for program in "$folder"/emberl-{vulkan,wgpu}; do
  [[ -x $program ]] || continue
  section "${program##*/}: f16 against the CPU in f32"
  run timeout 900 "$program" devices --check --precision f16
done

for library in "$folder"/library-{cuda,vulkan,wgpu}; do
  [[ -x $library ]] || continue
  section "${library##*/}: products, decoding, sums"
  run timeout 300 "$library" ops::product ops::decode ops::add_bias --test-threads 1
done

[[ -x $folder/integration ]] || { rm -rf "$out"; exit $failed; }

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
