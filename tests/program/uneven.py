"""Models whose parts count for different amounts, and the parts that each of two workers has.

A file of its own, since both the tests and the processes that they start need it.
"""

import torch
from torch import nn
from torch.nn import functional as F

import dovetail
from dovetail import layers, optimizers
from dovetail.definition.modeler import Modeler
from dovetail.program.step import Part


def batch(size, seed=0):
    """Return sequences of up to 5 tokens: how many count differs from example to example."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(size, 5, 4, generator=generator)
    labels = torch.randint(0, 3, (size, 5), generator=generator)
    lengths = torch.randint(1, 6, (size,), generator=generator)
    return {"x": x, "mask": (torch.arange(5) < lengths[:, None]).float()}, labels


def network(features):
    h = torch.tanh(layers.layer(nn.Linear, 4, 6, name="linear")(features["x"]))
    return layers.layer(nn.Linear, 6, 3, name="linear_1")(h)


def token_losses(logits, features, labels):
    each = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
    return each * features["mask"]


def optimizer():
    return optimizers.Momentum(0.5, momentum=0.9, clip_norm=0.3)


def minimized(features, labels, mode):
    logits = network(features)
    loss = token_losses(logits, features, labels).sum(1).mean()
    return dovetail.EstimatorSpec(mode, logits, loss, optimizer().minimize(loss))


def given_gradients(features, labels, mode):
    logits = network(features)
    loss = token_losses(logits, features, labels).sum(1).mean()
    if mode != dovetail.ModeKeys.TRAIN:
        return dovetail.EstimatorSpec(mode, logits, loss)
    own = [*layers.layer(nn.Linear, 4, 6, name="linear").parameters()]
    own += [*layers.layer(nn.Linear, 6, 3, name="linear_1").parameters()]
    pairs = zip(torch.autograd.grad(loss, own), own, strict=True)
    return dovetail.EstimatorSpec(mode, logits, loss, optimizer().apply_gradients(pairs))


def mean_over_tokens(features, labels, mode):
    logits = network(features)
    tokens = features["mask"].sum()
    loss = token_losses(logits, features, labels).sum() / tokens
    op = optimizer().minimize(loss)
    return dovetail.EstimatorSpec(mode, logits, loss, op, loss_weight=tokens)


def summed(features, labels, mode):
    logits = network(features)
    loss = token_losses(logits, features, labels).sum()
    op = optimizer().minimize(loss)
    return dovetail.EstimatorSpec(mode, logits, loss, op, loss_weight="sum")


def two_optimizers(features, labels, mode):
    logits = network(features)
    loss = token_losses(logits, features, labels).sum(1).mean()
    other = logits.square().sum((1, 2)).mean()
    ops = {
        "second": optimizer().minimize(other, var_list=["linear_1.*"]),
        "first": optimizers.Adam(0.1).minimize(loss, var_list=["linear.*"]),
    }
    return dovetail.EstimatorSpec(mode, logits, loss + other, ops)


def two_dtypes(features, labels, mode):
    h = torch.tanh(layers.layer(nn.Linear, 4, 6, name="linear")(features["x"])).double()
    logits = layers.layer(nn.Linear, 6, 3, dtype=torch.float64, name="linear_1")(h)
    loss = token_losses(logits, features, labels).sum(1).mean()
    return dovetail.EstimatorSpec(mode, logits, loss, optimizer().minimize(loss))


def modeler(kind):
    def create_graph_fn(inputs):
        return network(inputs), {"mask": inputs["mask"]}

    def model_fn(x, modeler):
        (features, labels), mask = x, x[0]["mask"]
        logits, _ = modeler.create_graph_fn(features)
        each = token_losses(logits, features, labels)
        if kind == "mean":
            loss, more = each.sum(1).mean(), {}
        elif kind == "token mean":
            loss, more = each.sum() / mask.sum(), {"loss_weight": mask.sum()}
        else:
            loss, more = each.sum(), {"loss_weight": "sum"}
        return {"loss": loss, "grads": modeler.create_grad_fn(loss), **more}

    config = dovetail.ModelerConfig("train", optimizer=optimizer())
    return Modeler(config, create_graph_fn=create_graph_fn, model_fn=model_fn)


MODEL_FILE = """
import torch
from torch.nn import functional as F
from dovetail import optimizers

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.linear_1 = torch.nn.Linear(4, 6), torch.nn.Linear(6, 3)

    def forward(self, x, mask):
        return {"logits": self.linear_1(torch.tanh(self.linear(x))), "mask": mask}

model = Net

def optimizer():
    return optimizers.Momentum(0.5, momentum=0.9, clip_norm=0.3)

def each(output, labels):
    logits = output["logits"].transpose(1, 2)
    return F.cross_entropy(logits, labels, reduction="none") * output["mask"]
"""
LOSSES = {
    "mean": """
def loss(output, labels):
    return each(output, labels).sum(1).mean()
""",
    "token mean": """
def loss(output, labels):
    return each(output, labels).sum() / output["mask"].sum()

def loss_weight(labels, output):
    return output["mask"].sum()
""",
    "sum": """
def loss(output, labels):
    return each(output, labels).sum()

loss_weight = "sum"
""",
}


def model_file(kind, folder):
    path = folder / "net.py"
    path.write_text(MODEL_FILE + LOSSES[kind])
    return path


def with_dropout(features, labels, mode):
    """The masks of a part are those of its number, whoever has it."""
    logits = layers.dropout(network(features), 0.5)
    loss = token_losses(logits, features, labels).sum(1).mean()
    return dovetail.EstimatorSpec(mode, logits, loss, optimizer().minimize(loss))


def branches(features, labels, mode):
    """Which layer a batch goes through is a matter of the batch; through "never" goes none."""
    zero, one, _never = (layers.layer(nn.Linear, 4, 3, name=n) for n in ("zero", "one", "never"))
    logits = (zero if features["x"][0, 0, 0] > 0 else one)(features["x"])
    loss = token_losses(logits, features, labels).sum(1).mean()
    op = optimizers.SGD(0.5, weight_decay=0.1).minimize(loss)
    return dovetail.EstimatorSpec(mode, logits, loss, op)


MODELS = {
    "minimize": minimized,
    "apply_gradients": given_gradients,
    "token mean": mean_over_tokens,
    "sum": summed,
    "two optimizers": two_optimizers,
    "two dtypes": two_dtypes,
}
MADE = {f"{way}, {kind}": (way, kind) for way in ("modeler", "file") for kind in LOSSES}


def model_of(name, folder):
    """Return one of MODELS, or a modeler or model file that MADE names, in a folder."""
    way, kind = MADE.get(name, (None, None))
    if way is None:
        return MODELS[name]
    return modeler(kind) if way == "modeler" else model_file(kind, folder)


# Sizes of the parts that each worker has at a step.
SHARES = [([4], [3]), ([3], [2]), ([2, 2], [3]), ([1], [2, 3])]


def built(model):
    return dovetail.build(model, example=batch(3), device="cpu")


def pieces(step, sizes):
    """Return a step's batch of 7 or 5 examples in parts of these sizes."""
    features, labels = batch(sum(sizes), step)
    cut = [value.split(sizes) for value in (features["x"], features["mask"], labels)]
    return [Part({"x": x, "mask": mask}, y, len(y)) for x, mask, y in zip(*cut, strict=True)]


def steps(program, parts_of_step):
    """Take the steps; return each one's loss, gradients before they are clipped, and parameters."""
    seen = []

    def keep(loss):
        named = program.network.named_parameters()
        seen.append({n: p.grad.clone() for n, p in named if p.grad is not None})

    program.before_update = keep
    losses = [program.train_parts(parts)["loss"] for parts in parts_of_step]
    parameters = {name: value.clone() for name, value in program.state().items()}
    return {"losses": losses, "gradients": seen, "parameters": parameters}


def of_one_process(model):
    """Each batch whole."""
    return steps(built(model), [pieces(s, [sum(map(sum, both))]) for s, both in enumerate(SHARES)])


def in_parts(model):
    """Each batch in the parts that the workers have, one process after the other."""
    return steps(built(model), [pieces(s, [*a, *b]) for s, (a, b) in enumerate(SHARES)])


def of_worker(model, rank):
    parts = [pieces(s, [*a, *b]) for s, (a, b) in enumerate(SHARES)]
    first = [len(a) for a, _ in SHARES]
    own = [p[:n] if rank == 0 else p[n:] for p, n in zip(parts, first, strict=True)]
    return steps(built(model), own)


def forked():
    """Parts of two steps for `branches`, one through each layer, and of one through the first."""
    found = []
    for step, signs in enumerate([(1, -1), (-1, 1), (1, 1)]):
        parts = pieces(step, [4, 3])
        for part, sign in zip(parts, signs, strict=True):
            part.features["x"][0, 0, 0] = sign
        found.append(parts)
    return found
