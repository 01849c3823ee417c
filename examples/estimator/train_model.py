"""The training script of the Estimator page, with what follows its last line: the training.

    python examples/estimator/train_model.py --small
    python examples/estimator/train_model.py --small --model_dir results/<timestamp>  # goes on

Without `--small` it is the page's AlexNet on images of 300x200, which wants an accelerator.
"""

import argparse
import datetime
import os
import shutil
import time

import shapes

import dovetail

parser = argparse.ArgumentParser(description="Train the model of the Estimator page.")
parser.add_argument("--small", action="store_true", help="the variant that trains in seconds")
parser.add_argument("--model_dir", help="go on with this model instead of beginning a new one")
parser.add_argument("--max_steps", type=int, help="the step to end at; else where the input ends")
args = parser.parse_args()

if args.small:
    import small_model as model
    from small_model import load_estimator, model_fn, params
else:
    import model
    from model import load_estimator, model_fn, params

# Name the output directory by the time at which the script is run
ts = time.time()
timestamp = datetime.datetime.fromtimestamp(ts).strftime("%Y-%m-%d_%H-%M-%S")

model_dir = args.model_dir or "results/" + timestamp

config = dovetail.RunConfig(
    tf_random_seed=0,
    save_checkpoints_steps=250,
    save_checkpoints_secs=None,
    save_summary_steps=10,
    unpositioned_input="fast_forward",  # the batches are the same each time: resumed exactly
)

estimator = load_estimator(model_fn=model_fn, model_dir=model_dir, config=config, params=params)

# Find the path of the current running file (train script)
curr_path = os.path.realpath(__file__)

# And that of the model file
model_path = os.path.realpath(model.__file__)

# Now copy the training script and the model file to model_dir, which the Estimator has made
# Note: copy over more files if there are other important dependencies.
shutil.copy(curr_path, model_dir)
shutil.copy(model_path, model_dir)
for path in ("model.py", "shapes.py"):
    shutil.copy(os.path.join(os.path.dirname(curr_path), path), model_dir)

estimator.train(shapes.input_fn, max_steps=args.max_steps)
print(estimator.evaluate(shapes.input_fn))
for prediction in estimator.predict(shapes.input_fn, steps=1):
    print(prediction["output"].argmax(), end=" ")
print()
print(f"The model is in {model_dir}.")
