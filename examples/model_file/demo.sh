#!/usr/bin/env bash
# The main job from end to end: a folder of images becomes records, one model file is trained on
# them, evaluated, and used to predict. Usage: bash examples/model_file/demo.sh [FOLDER]
# Run again, it uses what is there and goes on where it stopped.
set -euo pipefail

demo=${1:-demo}
model=$(dirname "${BASH_SOURCE[0]}")/digits.py

run() {
  printf '\n$'
  for word in "$@"; do
    case $word in
      *'*'*) printf " '%s'" "$word" ;; # a pattern goes to the command as it is
      *) printf ' %s' "$word" ;;
    esac
  done
  printf '\n'
  "$@"
}

# A manifest is written last: where it is, the records are whole.
whole() { [ -f "$demo/records/$1/manifest.json" ]; }

if ! whole train || ! whole test; then
  run python "$(dirname "$model")/make_digits.py" "$demo/digits"
fi
for split in train test; do
  if ! whole "$split"; then
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
