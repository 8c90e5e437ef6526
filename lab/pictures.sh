#!/usr/bin/env bash
# Makes the thumbnails and the README's pictures from runs of the shipped workflows.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=.venv/bin out=out/pictures none=no_dense_pose.png photo=photograph.png
rm -rf "$out"
for name in pose_transfer try_on two_references pose_transfer_aligned pose_guidance pose_sheet \
  inpaint_with_words face_inpaint face_edit personalize_face two_people_one_scene subject_morph \
  swap_subject hands_then_body hand_repair try_on_hands; do
  "$bin/mannequin" run "workflows/api/$name.json" -o "$out/examples"
done
"$bin/mannequin" run workflows/api/pose_transfer.json -o "$out/photograph" \
  --set "Load reference.image=$photo" --set "Load reference dense pose.image=$none"
"$bin/mannequin" run workflows/api/try_on.json -o "$out/photograph" \
  --set "Load garment.image=$photo" --set "Load garment dense pose.image=$none"
"$bin/mannequin" run workflows/api/two_references.json -o "$out/photograph" \
  --set "Load second reference.image=$photo" \
  --set "Load second reference dense pose.image=$none"
"$bin/python" -m mannequin.lab.pictures "$out/examples" "$out/photograph"
