"""A plain torch module as a model's descriptor, and the actions that know what to do with it.

python examples/pipelines/torch_model.py
"""

import argparse

import data
import torch

from dovetail import Pipeline, action, model, named


class Digits(data.Digits):
    @model(mode="static")
    def perceptron(pipeline, config=None):
        """Built where a pipeline says init_model: all that training needs is in it."""
        torch.manual_seed(config["seed"])
        net = torch.nn.Sequential(
            torch.nn.Flatten(),
            torch.nn.Linear(64, config["width"]),
            torch.nn.ReLU(),
            torch.nn.Linear(config["width"], 10),
        )
        return {"net": net, "optimizer": torch.optim.Adam(net.parameters(), lr=0.003)}

    @action(model="perceptron")
    def train_perceptron(self, model_spec, save_to=None):
        net, optimizer = model_spec["net"], model_spec["optimizer"]
        logits = net(torch.from_numpy(self.images))
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(self.labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if save_to is not None:
            save_to.set(self, self.pipeline, loss.item())
        return self

    @action(model="perceptron")
    def predict(self, model_spec):
        with torch.no_grad():
            self.predicted = model_spec["net"](torch.from_numpy(self.images)).argmax(1).numpy()
        return self


parser = argparse.ArgumentParser(description="Train a torch module in a pipeline.")
parser.add_argument("--epochs", type=int, default=10, help="(%(default)s)")
args = parser.parse_args()

digits = data.dataset(Digits)
template = (
    Pipeline(config={"perceptron": {"width": 64}})
    .init_model(Digits.perceptron, {"seed": 0})
    .init_variable("losses", [])
    .scaled()
    .train_perceptron(save_to=named.Variable("losses", "append"))
)
train_pipeline = (template << digits.train).run(64, shuffle=True, n_epochs=args.epochs)
losses = train_pipeline.get_variable("losses")
print(f"The loss was {losses[0]:.3f} at first and {losses[-1]:.3f} at last.")

test_pipeline = digits.test.p.import_model("perceptron", train_pipeline).scaled().predict()
right = sum(sum(batch.predicted == batch.labels) for batch in test_pipeline.gen_batch(100))
print(f"Its accuracy is {right / len(digits.test):.4f}.")
