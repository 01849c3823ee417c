"""Which device a program is on, and what is said where a modeler asks for others."""

from __future__ import annotations

import pytest
import torch

import dovetail
from dovetail.definition.definition import Definition
from dovetail.definition.modeler import Modeler
from dovetail.errors import DefinitionError
from dovetail.program.devices import choose_device, other_than_asked


def asks_for(count: int) -> Definition:
    return dovetail.load(Modeler(dovetail.ModelerConfig(gpu_count=count)))


def test_a_device_that_is_not_here_is_refused_with_the_cure():
    assert choose_device("cpu") == torch.device("cpu")
    with pytest.raises(DefinitionError, match=r"device='gpu' .*Use 'auto', 'cpu', or"):
        choose_device("gpu")


@pytest.mark.parametrize(
    ("count", "device", "said"),
    [
        (1, "cuda:0", None),
        (1, "cpu", "gpu_count=1: this run is on the CPU, with its whole batch."),
        (4, "cpu", "gpu_count=4: this run is on the CPU, with its whole batch."),
        (4, "cuda:0", "gpu_count=4: this run is on one device, cuda:0, with its whole batch."),
    ],
)
def test_a_run_says_where_a_batch_for_several_gpus_goes(count: int, device: str, said: str | None):
    assert other_than_asked(asks_for(count), torch.device(device)) == said


def test_what_is_no_modeler_asks_for_no_number_of_gpus():
    def model_fn(features, labels, mode, params): ...

    definition = dovetail.load(model_fn, params={"gpu_count": 2})
    assert other_than_asked(definition, torch.device("cpu")) is None
