"""A Keras model as a model's descriptor, and the actions that know what to do with it.

    python examples/pipelines/keras_model.py

It runs on Keras' torch backend, and needs the extra: pip install 'dovetail[keras]'.
"""

import argparse
import os

os.environ.setdefault("KERAS_BACKEND", "torch")  # read when Keras is imported

import data
import keras

from dovetail import action, model, named


class Digits(data.Digits):
    @model(mode="dynamic")
    def perceptron(self, config=None):
        """Built when the first batch asks for it."""
        keras.utils.set_random_seed(0)
        net = keras.Sequential(
            [
                keras.Input(self.images.shape[1:]),
                keras.layers.Flatten(),
                keras.layers.Dense(64, activation="relu"),
                keras.layers.Dense(10),
            ]
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        net.compile(keras.optimizers.Adam(0.003), loss)
        return net

    @action(model="perceptron")
    def train_perceptron(self, net, save_to=None):
        loss = net.train_on_batch(self.images, self.labels)
        if save_to is not None:
            save_to.set(self, self.pipeline, float(loss))
        return self

    @action(model="perceptron")
    def predict(self, net):
        self.predicted = net(self.images).detach().cpu().numpy().argmax(1)
        return self


parser = argparse.ArgumentParser(description="Train a Keras model in a pipeline.")
parser.add_argument("--epochs", type=int, default=10, help="(%(default)s)")
args = parser.parse_args()

digits = data.dataset(Digits)
train_pipeline = (
    digits.train.p.init_variable("losses", [])
    .scaled()
    .train_perceptron(save_to=named.Variable("losses", "append"))
    .run(64, shuffle=True, n_epochs=args.epochs)
)
losses = train_pipeline.get_variable("losses")
print(f"The loss was {losses[0]:.3f} at first and {losses[-1]:.3f} at last.")

test_pipeline = digits.test.p.import_model("perceptron", train_pipeline).scaled().predict()
right = sum(sum(batch.predicted == batch.labels) for batch in test_pipeline.gen_batch(100))
print(f"Its accuracy is {right / len(digits.test):.4f}.")
