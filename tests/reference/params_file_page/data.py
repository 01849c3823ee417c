"""The params-file page's inputs: (features, labels), each a tensor or a dict."""

import torch


def examples(section):
    generator = torch.Generator().manual_seed(section["seed"])
    x = torch.randn(section["batches"], section["batch_size"], 5, generator=generator)
    labels = (x.sum(-1) > 0).long() + (x[..., 0] > 1).long()
    if section["as_dict"]:
        return [({"x": one}, {"y": label}) for one, label in zip(x, labels, strict=True)]
    return list(zip(x, labels, strict=True))


def train_input_fn(params):
    return examples(params["train_input"])


def eval_input_fn(params):
    return examples(params["eval_input"])
