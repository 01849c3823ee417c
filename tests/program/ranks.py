"""One of two processes of a test: `python ranks.py CASE RANK MEETING_FILE OUTPUT_FILE`.

A file of its own, since a process that is spawned can't import a test module by name.
"""

import datetime
import os
import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

import dovetail
from dovetail import layers, metrics, optimizers

WORLD = 2


def model_fn(features, labels, mode):
    h = layers.fully_connected(features, 8)
    for _ in range(2):
        h = layers.block(residual, h)
    logits = layers.fully_connected(h, 3, activation_fn=None)
    loss = F.cross_entropy(logits, labels) + 1e-2 * layers.regularization_loss()
    return dovetail.EstimatorSpec(
        mode,
        {"logits": logits},
        loss,
        optimizers.AdamW(0.1, groups=optimizers.no_decay()).minimize(loss),
        {"accuracy": metrics.accuracy(labels, logits.argmax(-1))},
    )


def residual(x):
    h = layers.layer(nn.LayerNorm, 8)(x)
    return x + layers.fully_connected(h, 8, weights_regularizer=layers.l2_loss)


def batch(step):
    generator = torch.Generator().manual_seed(step)
    features = torch.randn(8, 4, generator=generator)
    return features, torch.randint(0, 3, (8,), generator=generator)


def built():
    return dovetail.build(model_fn, example=batch(0), device="cpu")


def share(rank, step):
    return tuple(tensor.chunk(WORLD)[rank] for tensor in batch(step))


def data_parallel(rank, *, static):
    """Return the gradients of three backward passes through DDP."""
    network = built().network
    parallel = DistributedDataParallel(network, static_graph=static)
    gradients = []
    for step in range(3):
        network.zero_grad()
        parallel(*share(rank, step))["train_losses"]["optimizer"].backward()
        gradients.append({name: p.grad.clone() for name, p in network.named_parameters()})
    return gradients


def sharded(rank):
    """Return gradients and parameters after three steps with each block and the rest sharded."""
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor

    program = built()
    for module in (program.network.residual, program.network.residual_1, program.network):
        fully_shard(module)
    for step in range(3):
        program.train_step(*share(rank, step))
    named = dict(program.network.named_parameters())
    assert all(isinstance(p, DTensor) for p in named.values())
    assert named["residual.layernorm.weight"].to_local().shape == (4,)
    gradients = {name: p.grad.full_tensor() for name, p in named.items()}
    return gradients, {name: p.full_tensor().detach() for name, p in named.items()}


CASES = {
    "ddp": lambda rank: data_parallel(rank, static=False),
    "ddp_static": lambda rank: data_parallel(rank, static=True),
    "fsdp": sharded,
}


def main(case, rank, meeting_file, output_file):
    dist.init_process_group(
        "gloo",
        init_method=f"file://{meeting_file}",
        rank=int(rank),
        world_size=WORLD,
        timeout=datetime.timedelta(seconds=60),
    )
    torch.save(CASES[case](int(rank)), output_file)
    dist.barrier()
    dist.destroy_process_group()
    # Everything is saved. At a regular exit torch's own threads now and then end the process with
    # "terminate called without an active exception" (seen with FSDP on gloo, under load).
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
