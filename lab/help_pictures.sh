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
for iterations in 1 3; do
  run workflows/api/pose_transfer_aligned.json "iterations_$iterations" \
    --set "Recurrent pose aligner.iterations=$iterations"
done
for scale in 0 0.5 1 4; do
  run workflows/api/pose_guidance.json "scale_$scale" --set "Pose guidance.scale=$scale"
done
for morph in 0 0.5 1; do
  run workflows/api/subject_morph.json "morph_$morph" --set "Between them.morph=$morph"
done
for strength in 0.25 0.5 1; do
  run workflows/api/two_people_one_scene.json "people_$strength" \
    --set "MoA router.strength=$strength"
done
for mode in people layers time; do
  run workflows/api/two_people_one_scene.json "routes_$mode" --set "Route preview.mode=$mode"
done
run workflows/api/hands_then_body.json hands
run workflows/api/hand_repair.json hands
"$bin/python" -m mannequin.lab.help_pictures "$out"
"$bin/python" -m mannequin.lab.help_pictures_faces
"$bin/python" -m mannequin.lab.help_pictures_pva
"$bin/python" -m mannequin.lab.help_pictures_poses "$out"
"$bin/python" -m mannequin.lab.help_pictures_subjects "$out"
"$bin/python" -m mannequin.lab.help_pictures_hands "$out"
