#!/usr/bin/env bash
# The main job from end to end: a folder of images becomes records, one model file is trained on
# them, evaluated, and used to predict. Usage: bash examples/model_file/demo.sh [FOLDER]
# Run again, it uses what is there and goes on where it stopped.
set -euo pipefail

demo=${1:-demo}
model=$(dirname "${BASH_SOURCE[0]}")/digits.py

run() {
  printf '\n$'
  printf ' %q' "$@"
  printf '\n'
  "$@"
}

for split in train test; do
  # A manifest is written last: where it is, the records are whole.
  if [ ! -f "$demo/records/$split/manifest.json" ]; then
    [ -n "${images:-}" ] || run python "$(dirname "$model")/make_digits.py" "$demo/digits"
    images=written
    run dovetail prepare "$model" "$demo/digits/$split/*/*.png" --output "$demo/records/$split"
  fi
done
run dovetail train "$model" --data "$demo/records/train" --model-dir "$demo/model" --epochs 20
run dovetail evaluate "$model" --data "$demo/records/test" --model-dir "$demo/model"
run dovetail predict "$model" --data "$demo/records/test" --model-dir "$demo/model" \
  --output "$demo/predictions.jsonl"

cat <<END

Done. Under $demo/:
  digits/            1,797 handwritten digits as PNG files, in train/LABEL/ and test/LABEL/
  records/           the same as records, read by \`dovetail train\`
  model/             checkpoints, event logs and the record of each run
  predictions.jsonl  one line for each test image
Look further:
  .venv/bin/dovetail inspect $demo/model
  .venv/bin/tensorboard --logdir $demo/model
END
