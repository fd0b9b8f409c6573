#!/usr/bin/env bash
# Trains, promotes and measures a shipped checkpoint and its gallery again, in one command:
#   checkpoints/retrain.sh NAME DATA_FOLDER        (NAME: ecg, chest-xray-64, dermatoscope-64, hippocampus-32, lung-ct-32)
# Stopped half-way, the same command continues. PYTHON chooses the interpreter, RUNS where the run is kept (default: runs).
set -euo pipefail
cd "$(dirname "$0")/.."
name=${1:?name of the checkpoint} data=${2:?folder with the data files} runs=${RUNS:-runs}
python=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python)}
cli() { "$python" -m medfuncta_core "$@"; }

words=() recipe=() others=() # words: of promote; others: splits beside test, with the number of signals
case "$name" in
  ecg)
    preset=ecg-187-cpu file=mitbih_full_187.npz limit=2000 others=(val:2000) per_class=5
    licence="ODC-BY 1.0" data_licence="ODC-BY 1.0"
    source="PhysioNet MIT-BIH Arrhythmia Database (mitdb), cut into beats as by Kachuee et al. 2018"
    classes="normal (N),supraventricular (S),ventricular (V),fusion (F),unknown (Q)" ;;
  chest-xray-64)
    preset=image-64-small file=nihcxr_64.npz limit=201 others=(val:124) per_class=12
    licence="MIT, with attribution of the data" data_licence="NIH ChestX-ray14: free use with attribution"
    source="NIH Clinical Center ChestX-ray14 (Wang et al. 2017), a subset at 64 x 64"
    classes="no finding,pneumonia" ;;
  dermatoscope-64)
    preset=image-64-small file=ham10000_64.npz limit=400 per_class=4
    recipe=(--steps 800 --set muon_lr=none --set validate_every=100)
    licence="CC BY-NC 4.0" data_licence="CC BY-NC 4.0"
    source="HAM10000 (Tschandl et al. 2018), a subset at 64 x 64"
    classes="actinic keratosis,basal cell carcinoma,benign keratosis,dermatofibroma,melanoma,melanocytic nevus,vascular lesion" ;;
  hippocampus-32)
    preset=volume-32-medium file=hippocampus3d_32.npz limit=56 others=(val:25 train:14) per_class=8
    licence="CC BY-SA 4.0" data_licence="CC BY-SA 4.0"
    source="Medical Segmentation Decathlon, Task04 Hippocampus (Antonelli et al. 2022), at 32 x 32 x 32"
    classes="small,medium,large (volume tertile)"
    words=(--half --normalisation quantile --limits 0.005,0.995) ;; # how these volumes were made from the challenge's NIfTI files
  lung-ct-32)
    recipe=(--steps 1500) preset=volume-32-small file=lungct3d_32.npz limit=63 others=(val:30 train:30) per_class=8
    licence="CC BY 3.0" data_licence="CC BY 3.0 (TCIA CPTAC-LSCC) and Apache-2.0 (TotalSegmentator)"
    source="Lung CT patches at 32 x 32 x 32 of three patients: TCIA CPTAC-LSCC and the example of TotalSegmentator"
    classes="mostly lung,part lung,little lung"
    words=(--normalisation window --limits=-1000,400) ;; # Hounsfield units, as these patches were cut
  *) echo "no checkpoint named $name; see the header of $0" >&2; exit 2 ;;
esac

if [ -e "$runs/$name/config.json" ]; then
  cli train --resume --out "$runs/$name" --data "$data/$file"
else
  cli train --preset "$preset" --data "$data/$file" --out "$runs/$name" --licence "$licence" \
    ${recipe[@]+"${recipe[@]}"}
fi
cli promote "$runs/$name" --out "checkpoints/$name" --licence "$licence" --data-licence "$data_licence" \
  --source "$source" --classes "$classes" ${words[@]+"${words[@]}"}
for method in gradient_descent gauss_newton; do
  cli evaluate "checkpoints/$name" --data "$data/$file" --split test --limit "$limit" --method "$method" --update-card
done
for other in ${others[@]+"${others[@]}"}; do
  cli evaluate "checkpoints/$name" --data "$data/$file" --split "${other%:*}" --limit "${other#*:}" --update-card
done
cli gallery "checkpoints/$name" --data "$data/$file" --out "assets/gallery/$name.safetensors" --per-class "$per_class"
