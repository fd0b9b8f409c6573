#!/usr/bin/env bash
# Everything that needs a GPU, in one command of at most ten minutes; results are JSON files.
#   benchmarks/gpu.sh [OUT_FOLDER] [DATA_FOLDER]      (OUT_FOLDER: $OUT, else benchmarks/results/gpu; DATA_FOLDER: shared/data)
#   benchmarks/gpu.sh --dry-run ...                   prints the commands
#   benchmarks/gpu.sh --smoke ...                     tiny sizes on the CPU: does it run, not how fast
# 1 the kernels' tests on CUDA  2 speed and memory against plain autograd  3 Table 2's 224 x 224 field on its full context
# 4 PSNR after the same steps in float32, TF32 and float16. A step that fails or runs out of its time does not stop the others;
# the exit status is 1 when one did, and 3 when there is no GPU.
set -uo pipefail
cd "$(dirname "$0")/.."
mode=run
case "${1:-}" in --dry-run|--smoke) mode=${1#--}; shift ;; esac
out=${1:-${OUT:-benchmarks/results/gpu}} data=${2:-shared/data}
python=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python)}
device=cuda failed=0 deadline=$((SECONDS + ${LIMIT:-590}))

if [ "$mode" = run ] && ! "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
  echo "no GPU that torch can use on this machine: nothing was measured. Run this where nvidia-smi lists one." >&2
  exit 3
fi
size=() batch=() steps=1000 recipe=(meta.outer_lr=1e-4 meta.batch_size=12 meta.warmup_steps=100)
if [ "$mode" = smoke ]; then
  device=cpu size=(--quick --repeats 1) batch=(--batch 1) steps=2
  recipe=(depth=3 width=16 latent_dim=8 meta.batch_size=2 meta.validate_signals=2 meta.inner_steps=2 fit.steps=2)
fi

# step NAME SECONDS COMMAND...: stdout goes to OUT/NAME.json (tests: .txt) when the command succeeds
step() {
  local name=$1 seconds=$2; shift 2
  if [ "$mode" = dry-run ]; then printf '%-12s at most %ss: %s\n' "$name" "$seconds" "$*"; return; fi
  local left=$((deadline - SECONDS)) file="$out/$name"
  [ "$seconds" -le "$left" ] || seconds=$left
  if [ "$seconds" -lt 5 ]; then echo "$name: no time left" >&2; failed=1; return; fi
  echo "$name (at most ${seconds}s)" >&2
  if timeout -k 10 "$seconds" "$@" > "$file.part" 2> >(tee "$file.log" >&2); then
    case "$name" in tests) mv "$file.part" "$file.txt" ;; *) mv "$file.part" "$file.json" ;; esac
  else
    echo "$name failed or took too long; see $file.part and $file.log" >&2; failed=1
  fi
}

[ "$mode" = dry-run ] || mkdir -p "$out"
speed=("$python" benchmarks/speed.py --device "$device" --json ${size[@]+"${size[@]}"} ${batch[@]+"${batch[@]}"})
if [ "$mode" = smoke ]; then
  step tests 200 "$python" -m pytest -q -p no:cacheprovider tests/test_planning.py
else
  step tests 120 "$python" -m pytest -q -p no:cacheprovider tests/test_kernels.py tests/test_planning.py
fi
step speed-image-64 110 "${speed[@]}" --configs image-64
step speed-ecg-187 60 "${speed[@]}" --configs ecg-187
step speed-volume-32 90 "${speed[@]}" --configs volume-32
for precision in tf32 float16; do
  step "speed-image-64-$precision" 45 env MEDFUNCTA_PRECISION="$precision" "${speed[@]}" --configs image-64 --no-memory
done
step memory-image-224 60 "$python" benchmarks/speed.py --device "$device" --memory-of ours meta-step --configs image-224 \
  --batch "$([ "$mode" = smoke ] && echo 1 || echo 4)" --selection-ratio 1.0 --memory-limit 1e6 ${size[@]+"${size[@]}"}
if [ -e "$data/nihcxr_64.npz" ]; then
  step precision 300 "$python" benchmarks/precision.py --device "$device" --data "$data/nihcxr_64.npz" --preset image-64 \
    --steps "$steps" --json --set "${recipe[@]}"
else
  echo "precision: left out, there is no $data/nihcxr_64.npz; name the folder of the data as second argument" >&2
fi
exit "$failed"
