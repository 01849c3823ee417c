"""Two processes of a test, and one of them: `python ranks.py CASE RANK MEETING_FILE OUTPUT_FILE`.

A file of its own, since a process that is spawned can't import a test module by name.
"""

import datetime
import os
import subprocess
import sys
import tempfile
from pathlib import Path

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
    """Return gradients and parameters after steps with blocks sharded, 5 and 3 examples each."""
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor

    program = built()
    for module in (program.network.residual, program.network.residual_1, program.network):
        fully_shard(module)
    for step in range(3):
        program.train_step(*(tensor.split([5, 3])[rank] for tensor in batch(step)))
    named = dict(program.network.named_parameters())
    assert all(isinstance(p, DTensor) for p in named.values())
    assert named["residual.layernorm.weight"].to_local().shape == (4,)
    gradients = {name: p.grad.full_tensor() for name, p in named.items()}
    return gradients, {name: p.full_tensor().detach() for name, p in named.items()}


def uneven(rank):
    """Return what each model's steps gave, and what happened where workers differ."""
    import uneven

    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in (*uneven.MODELS, *uneven.MADE):
            results[name] = uneven.of_worker(uneven.model_of(name, Path(folder)), rank)
    results["dropout"] = masks(uneven, rank)
    results["branches"] = branches(uneven, rank)
    results["fp16"] = overflow(uneven, rank)
    results["refused"] = [refused(unlike(rank)), refused(sparse)]
    return results


def masks(uneven, rank):
    """A step with dropout, one part each: 4 and 3 examples."""
    program = uneven.built(uneven.with_dropout)
    return uneven.steps(program, [[uneven.pieces(0, [4, 3])[rank]]])


def branches(uneven, rank):
    """Two steps in which each worker goes through a layer of its own; then both through one."""
    program = uneven.built(uneven.branches)
    return uneven.steps(program, [[parts[rank]] for parts in uneven.forked()])


def overflow(uneven, rank):
    """A step in fp16 whose gradients are not finite on one worker, and one where they are."""
    program = dovetail.build(
        uneven.minimized, example=uneven.batch(3), device="cpu", precision="fp16", loss_scale=8.0
    )
    before = program.state()["linear.weight"].clone()
    outputs = []
    for step in range(2):
        parts = uneven.pieces(step, [4, 3])
        if step == 0:
            parts[1].features["x"][0, 0, 0] = 1e30
            parts[1].features["mask"][0, 0] = 1.0
        output = program.train_parts([parts[rank]])
        moved = not torch.equal(before, program.state()["linear.weight"])
        outputs.append((bool(moved), int(output["skipped_steps"])))
    return outputs, program.state()


def unlike(rank):
    def model_fn(features, labels, mode):
        loss = layers.fully_connected(features.float(), 1 + rank, scope="out").mean()
        return dovetail.EstimatorSpec(mode, None, loss, optimizers.SGD(0.1).minimize(loss))

    return model_fn


def sparse(features, labels, mode):
    loss = layers.layer(nn.Embedding, 4, 2, sparse=True, name="words")(features).mean()
    return dovetail.EstimatorSpec(mode, None, loss, optimizers.SGD(0.1).minimize(loss))


def refused(model_fn):
    """What the first step says of a model that workers can't train together."""
    try:
        dovetail.build(model_fn, device="cpu").train_step(torch.ones(2, 3, dtype=torch.int64))
    except dovetail.errors.DefinitionError as error:
        return str(error)
    return ""


def death(rank):
    """One step together; then rank 1 ends, and rank 0 goes on alone once it has seen that."""
    import uneven

    program = uneven.built(uneven.minimized)
    program.train_parts([uneven.pieces(0, [4, 3])[rank]])
    before = {name: value.clone() for name, value in program.state().items()}
    if rank == 1:
        return before
    try:
        program.train_parts(uneven.pieces(1, [4]))
    except RuntimeError:
        same = all(torch.equal(value, before[name]) for name, value in program.state().items())
        step = program.global_step
        dist.destroy_process_group()
        program.train_parts(uneven.pieces(1, [4, 3]))
        return before, (same, step), program.state()
    return "the death was not seen"


CASES = {
    "ddp": lambda rank: data_parallel(rank, static=False),
    "ddp_static": lambda rank: data_parallel(rank, static=True),
    "fsdp": sharded,
    "uneven": uneven,
    "death": death,
}


def run(case, folder):
    """Run a case in two processes and return what each saved."""
    outputs = [folder / f"{rank}.pt" for rank in range(WORLD)]
    script = str(Path(__file__))
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", script, case, str(rank), folder / "meeting", output],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, output in enumerate(outputs)
    ]
    try:
        errors = [process.communicate(timeout=90)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert all(process.returncode == 0 for process in processes), "\n".join(errors)
    return [torch.load(output, weights_only=True) for output in outputs]


def main(case, rank, meeting_file, output_file):
    dist.init_process_group(
        "gloo",
        init_method=f"file://{meeting_file}",
        rank=int(rank),
        world_size=WORLD,
        timeout=datetime.timedelta(seconds=60),
    )
    torch.save(CASES[case](int(rank)), output_file)
    if case != "death":
        dist.barrier()
        dist.destroy_process_group()
    # Everything is saved. At a regular exit torch's own threads now and then end the process with
    # "terminate called without an active exception" (seen with FSDP on gloo, under load).
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
