#!/usr/bin/env bash
# Trains a flagship checkpoint, the paper's K, L and P on a GPU, in slices that each end in time and continue where the last ended.
#   benchmarks/train_gpu.sh NAME DATA_FOLDER [SECONDS]      (NAME: chest-xray-64-full, dermatoscope-64-full, volume-32;
#                                                            SECONDS of this slice: 570)
# Exit status 0: trained, promoted to checkpoints/NAME and measured; 75: the slice is over, run the same command again; 3: no GPU.
# Runs are kept in OUT/runs and checkpoints in OUT/checkpoints (OUT: this repository). DEVICE=cpu tries it without a GPU,
# SETTINGS adds KEY=VALUE settings, MEDFUNCTA_PRECISION=tf32 or float16 is faster (benchmarks/precision.py says what it costs).
set -euo pipefail
cd "$(dirname "$0")/.."
name=${1:?name of the checkpoint} data=${2:?folder with the data files} seconds=${3:-570} device=${DEVICE:-cuda}
runs=${OUT:+$OUT/}runs checkpoints=${OUT:+$OUT/}checkpoints
python=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python)}
cli() { "$python" -m medfuncta_core "$@"; }

if [ "$device" = cuda ] && ! "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
  echo "no GPU that torch can use on this machine: nothing was trained. DEVICE=cpu would take weeks." >&2
  exit 3
fi

# The recipe of the small presets on the paper's K, L and P.
recipe=(residual=true modulate_first=true output_offset=0.5 omega_first=10 omega_last=80 meta.inner_steps=5 meta.outer_lr=1e-4
  meta.final_lr_ratio=0.01 meta.skip_ratio=3 meta.warmup_steps=200 meta.average_decay=0.995 meta.validate_every=250)
signal=()
case "$name" in
  chest-xray-64-full)
    preset=image-64 file=nihcxr_64.npz limit=201 licence="MIT, with attribution of the data"
    recipe+=(meta.steps=20000 meta.inner_lr=0.2 fit.inner_lr=0.2)
    data_licence="NIH ChestX-ray14: free use with attribution" classes="no finding,pneumonia"
    source="NIH Clinical Center ChestX-ray14 (Wang et al. 2017), a subset at 64 x 64" ;;
  dermatoscope-64-full)
    preset=image-64 file=ham10000_64.npz limit=200 licence="CC BY-NC 4.0" data_licence="CC BY-NC 4.0"
    recipe+=(meta.steps=20000 meta.inner_lr=0.2 fit.inner_lr=0.2)
    source="HAM10000 (Tschandl et al. 2018), a subset at 64 x 64"
    classes="actinic keratosis,basal cell carcinoma,benign keratosis,dermatofibroma,melanoma,melanocytic nevus,vascular lesion" ;;
  volume-32)
    preset=volume-32 file=hippocampus3d_32.npz limit=28 licence="CC BY-SA 4.0" data_licence="CC BY-SA 4.0"
    recipe+=(meta.steps=10000 modulate_scale=true meta.inner_lr=0.6 fit.inner_lr=0.6)
    source="Medical Segmentation Decathlon, Task04 Hippocampus (Antonelli et al. 2022), at 32 x 32 x 32"
    classes="small,medium,large (volume tertile)" signal=(--normalisation quantile --limits 0.005,0.995) ;;
  *) echo "no flagship named $name; see the header of $0" >&2; exit 2 ;;
esac

if [ -e "$runs/$name/config.json" ]; then
  start=(--resume)
else
  start=(--preset "$preset" --licence "$licence" --set "${recipe[@]}" ${SETTINGS:-})
fi
status=0
timeout -s TERM -k 60 "$seconds" "$python" -m medfuncta_core train --out "$runs/$name" --data "$data/$file" --device "$device" \
  "${start[@]}" || status=$?
if [ "$status" -eq 124 ] || [ "$status" -eq 143 ]; then
  echo "slice over after ${seconds}s; the same command continues $runs/$name" >&2
  exit 75
fi
[ "$status" -eq 0 ] || exit "$status"
cli promote "$runs/$name" --out "$checkpoints/$name" --licence "$licence" --data-licence "$data_licence" \
  --source "$source" --classes "$classes" ${signal[@]+"${signal[@]}"}
cli evaluate "$checkpoints/$name" --data "$data/$file" --split test --limit "$limit" --device "$device" --update-card
