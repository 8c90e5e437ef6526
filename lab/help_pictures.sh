#!/usr/bin/env bash
# Makes the pictures of the help pages (web/docs/pictures) from runs of the shipped workflows.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=.venv/bin out=out/help
rm -rf "$out"
run() { "$bin/mannequin" run "$1" -o "$out/$2" "${@:3}"; }
pose=workflows/api/pose_transfer.json
run workflows/api/try_on.json try_on
for strength in 0.25 0.5 1 2; do
  run "$pose" "strength_$strength" --set "Flow-guided attention.strength=$strength"
done
for mode in "colour wheel" arrows "warped reference" confidence; do
  run "$pose" "mode_${mode// /_}" --set "Flow preview.mode=$mode"
done
"$bin/python" -m mannequin.lab.help_pictures "$out"
"$bin/python" -m mannequin.lab.help_pictures_faces
"$bin/python" -m mannequin.lab.help_pictures_poses
