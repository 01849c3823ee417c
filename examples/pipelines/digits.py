"""A model that lives in a pipeline: trained in one, and used in another that imports it.

    python examples/pipelines/digits.py

The model is a Dovetail program, so the ready actions train, evaluate, ask, save and load it.
"""

import argparse

import data
import torch

import dovetail
from dovetail import Pipeline, action, layers, metrics, model, named, optimizers


class Digits(data.Digits):
    @model(mode="dynamic")
    def convnet(self, config):
        """Built when the first batch asks for it, so it can look at what it will get."""
        _, height, width, _ = self.images.shape
        assert height % 4 == 0
        assert width % 4 == 0

        def model_fn(features, labels, mode):
            net = layers.conv2d(features, config["filters"], 3)
            net = layers.max_pool2d(net, 2)
            net = layers.conv2d(net, 2 * config["filters"], 3)
            net = layers.max_pool2d(net, 2)
            logits = layers.fully_connected(layers.flatten(net), 10, activation_fn=None)
            predictions = {"classes": logits.argmax(1), "probabilities": logits.softmax(1)}
            if mode == dovetail.ModeKeys.PREDICT:
                return dovetail.EstimatorSpec(mode, predictions)
            loss = torch.nn.functional.cross_entropy(logits, labels)
            return dovetail.EstimatorSpec(
                mode,
                predictions,
                loss,
                optimizers.Adam(config["learning_rate"]).minimize(loss),
                {"accuracy": metrics.accuracy(labels, predictions["classes"])},
            )

        return dovetail.build(model_fn, device=config["device"])

    @action
    def marked(self):
        """Whether each digit was read rightly."""
        self.add_components("right", self.predicted == self.labels)
        return self


parser = argparse.ArgumentParser(description="Train a model in a pipeline.")
parser.add_argument("--epochs", type=int, default=8, help="(%(default)s)")
parser.add_argument("--device", default="auto", help="(%(default)s)")
parser.add_argument("--save", help="a folder to save the model to")
args = parser.parse_args()

digits = data.dataset(Digits)
config = {"convnet": {"filters": 16, "learning_rate": 0.003, "device": args.device}}

# Training: augmented in threads, then one step after the other.
train_pipeline = (
    digits.train.pipeline(config)
    .init_variable("losses", [])
    .random_rotate(angle=(-10, 10))
    .scaled()
    .train_model("convnet", "images", "labels", save_to=named.Variable("losses", "append"))
    .run(64, shuffle=True, n_epochs=args.epochs, prefetch=2)
)
losses = train_pipeline.get_variable("losses")
print(f"The loss was {losses[0]:.3f} at first and {losses[-1]:.3f} at last.")

# Inference: a template, which is bound to what it is to read.
inference_template = (
    Pipeline()
    .import_model("convnet", train_pipeline)
    .scaled()
    .predict_model("convnet", "images", save_to={"classes": named.Component("predicted")})
    .marked()
)
right = [batch.right for batch in (inference_template << digits.test).gen_batch(100)]
print(f"{sum(map(sum, right))} of {len(digits.test)} digits that it has not seen are right.")

# Evaluation gives the model's own metrics, exact for batches of any size.
test_pipeline = (
    digits.test.p.import_model("convnet", train_pipeline)
    .scaled()
    .evaluate_model("convnet", "images", "labels")
    .run(100)
)
print(f"Its accuracy is {test_pipeline.metrics('convnet')['accuracy']:.4f}.")

if args.save:
    dovetail.pipelines.save(train_pipeline.get_model_by_name("convnet"), args.save)
    print(f"It is saved in {args.save}.")
