#!/usr/bin/env bash
# Encodes a shipped MedNF set again with the checkpoint as it is now, in one command:
#   sets/encode.sh NAME DATA_FOLDER [PER_CLASS]    (NAME: ecg, chest-xray-64, dermatoscope-64, hippocampus-32)
# PER_CLASS takes fewer signals of every class and split than the set ships with. Stopped half-way, the same command continues.
# The old set stays until the new one is complete. PYTHON chooses the interpreter, RUNS where unfinished work is kept (default: runs).
set -euo pipefail
cd "$(dirname "$0")/.."
name=${1:?name of the set} data=${2:?folder with the data files} runs=${RUNS:-runs}
python=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python)}
cli() { "$python" -m medfuncta_core "$@"; }

case "$name" in
  ecg) file=mitbih_full_187.npz per_class=200 ;;
  chest-xray-64) file=nihcxr_64.npz per_class= ;;       # all of them
  dermatoscope-64) file=ham10000_64.npz per_class=130 ;;
  hippocampus-32) file=hippocampus3d_32.npz per_class= ;; # all of them
  *) echo "no set named $name; see the header of $0" >&2; exit 2 ;;
esac
per_class=${3:-$per_class}

weights=$(sha256sum "checkpoints/$name/model.safetensors" | cut -c 1-12)
work=$runs/sets/$name-$weights-${per_class:-all} # other weights or another sample: another set
cli encode "checkpoints/$name" --data "$data/$file" --out "$work" --resume --name "$name" --model refer --device "${DEVICE:-auto}" \
  ${per_class:+--per-class "$per_class"}
rm -rf "sets/$name"
mv "$work" "sets/$name"
cli set verify "sets/$name" --data "$data/$file" --sample 16

cli embed "sets/$name" # the map that the app shows first; others are made when somebody asks for them
