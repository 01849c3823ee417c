"""Batches made by worker processes: the same ones, and nothing that remains of the processes."""

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dovetail.data.batches.actions import SkipBatch, action
from dovetail.data.batches.batch import Batch
from dovetail.data.datasets.dataset import Dataset
from dovetail.data.datasets.files_index import FilesIndex
from dovetail.data.datasets.joint import JointDataset
from dovetail.data.pipeline.model_methods import model
from dovetail.data.pipeline.named import Component, Config, Random, Variable
from dovetail.data.pipeline.pipeline import Pipeline
from dovetail.data.record_writer import RecordWriter
from dovetail.data.schema import Schema
from dovetail.errors import DataError, ParamsError

ITEMS = 24


# Classes for processes stand at the top level: they are found there by name.
class Images(Batch):
    components = ("images", "note")

    @model
    def sum_of_all(self):
        return {"sum": 0.0, "process": os.getpid()}

    @action
    def add(self, n):
        self.images = self.images + n
        return self

    @action
    def jitter(self):
        self.images = self.images + self.uniform(0, 1, (1, 1)).astype(np.float32)
        return self

    @action
    def as_tensor(self):
        import torch  # here: each worker imports this file

        self.images = torch.from_numpy(self.images)
        return self

    @action
    def crop(self):
        self.images = self.images[:, 1:, 1:]
        return self

    @action
    def who(self):
        self.note = [os.getpid()] * len(self)
        return self

    @action
    def die_at(self, iteration, how):
        if self.iteration == iteration:
            os.kill(os.getpid(), how) if how else os._exit(7)
        return self

    @action
    def fail_at(self, iteration):
        if self.iteration == iteration:
            raise LookupError(f"no {iteration}") from OSError("the disk")
        return self

    @action
    def skip_odd(self):
        if self.iteration % 2:
            raise SkipBatch
        return self

    @action
    def read(self):
        pipeline = self.pipeline
        self.note = [(pipeline.config["k"], pipeline.get_variable("v"))] * len(self)
        return self

    @action
    def write(self):
        self.pipeline.set_variable("v", 1)
        return self

    @action(model="sum_of_all")
    def take_in(self, spec):
        spec["sum"] += float(self.images.sum())
        self.note = [spec["process"]] * len(self)
        return self

    @action(use_lock="the_file")
    def append_slowly(self, path):
        text = Path(path).read_text() if Path(path).exists() else ""
        time.sleep(0.005)
        Path(path).write_text(f"{text}{self.iteration}\n")
        return self

    @action(use_lock="the_file")
    def die_holding(self, iteration):
        if self.iteration == iteration:
            os.kill(os.getpid(), signal.SIGKILL)
        return self

    @action
    def hold_a_lambda(self):
        self.images = lambda: None
        return self

    @action
    def nap(self, seconds):
        time.sleep(seconds)
        return self


def images():
    rows = np.arange(ITEMS * 64 * 64, dtype=np.float32).reshape(ITEMS, 64, 64)
    return Dataset(ITEMS, Images, preloaded=(rows,))


def seen(pipeline, **options):
    return [
        (batch.indices.tolist(), np.asarray(batch.images).tobytes())
        for batch in pipeline.gen_batch(4, **options)
    ]


def shared_memory():
    """What this process holds of the memory that workers wrote."""
    maps = Path("/proc/self/maps")  # not on macOS
    lines = maps.read_text().splitlines() if maps.exists() else []
    return [line for line in lines if "memfd:dovetail" in line]


@pytest.fixture(autouse=True)
def _nothing_remains():
    yield
    gc.collect()
    names = [child.name for child in multiprocessing.active_children()]
    assert [name for name in names if "dovetail-worker" in name] == []
    assert shared_memory() == []


@settings(max_examples=3)
@given(st.integers(1, 3), st.booleans(), st.integers(0, 3))
def test_any_depth_gives_what_no_process_gives(depth, shuffle, seed):
    pipeline = (images().p.add(1).jitter() + Pipeline().add(5) @ 0.5).crop().rebatch(5)
    how = {"shuffle": shuffle, "seed": seed, "n_epochs": 2}
    assert seen(pipeline, **how, prefetch=depth, target="processes") == seen(pipeline, **how)


def test_batches_come_back_as_if_made_here():
    pipeline = images().p.add(1).crop().as_tensor().who()
    batches = list(pipeline.gen_batch(4, prefetch=1, target="processes"))
    batch = batches[0]
    assert batch.dataset is pipeline.dataset
    assert batch.pipeline is pipeline
    assert type(batch.images).__name__ == "Tensor"
    batch.images += 1  # may be written to
    assert all(pid != os.getpid() for one in batches for pid in one.note)
    assert {row["step"]: row["times"] for row in pipeline.timings()}["crop()"] == len(batches)


def test_what_was_not_touched_is_read_from_the_data_set_here():
    batch = next(images().p.who().gen_batch(4, prefetch=1, target="processes"))  # and dropped
    assert "images" not in vars(batch)
    assert batch.images.shape == (4, 64, 64)


def test_steps_from_the_first_model_on_are_done_here():
    pipeline = images().p.add(1).take_in().who()
    batches = list(pipeline.gen_batch(4, prefetch=1, target="processes"))
    assert {pid for batch in batches for pid in batch.note} == {os.getpid()}
    spec = pipeline.get_model_by_name("sum_of_all")
    assert spec["process"] == os.getpid()
    assert spec["sum"] == sum(float(batch.images.sum()) for batch in batches)


def test_variables_are_written_here_in_order_by_a_step():
    pipeline = (
        images()
        .p.init_variable("means", [])
        .add(1)
        .update_variable("means", Component("indices"), "append")
        .add(Random("integers", (0, 9)))
    )
    assert seen(pipeline, prefetch=3, target="processes") == seen(pipeline)
    assert np.concatenate(pipeline.get_variable("means")).tolist() == [*range(ITEMS)] * 2


def test_config_and_variables_are_read_as_they_were_when_the_pass_began():
    pipeline = images().pipeline({"k": 3, "bad": lambda: 0}).init_variable("v", [1]).read()
    pipeline = pipeline.init_variable("n", 4).add(Variable("n")).add(Config("k"))
    batches = list(pipeline.gen_batch(4, prefetch=1, target="processes"))
    assert batches[0].note[0] == (3, [1])
    assert batches[0].images[0, 0, 0] == 7


def test_what_a_worker_can_not_do_is_refused_with_the_cure():
    for pipeline, said in [
        (images().p.init_variable("v", 0).write(), r"update_variable\('v'.*threads"),
        (images().p.hold_a_lambda(), "its 'images' can't be pickled"),
    ]:
        with pytest.raises((ParamsError, DataError), match=said):
            pipeline.run(4, prefetch=1, target="processes")


def test_what_can_not_cross_is_refused_at_the_start_naming_the_step():
    class Local(Images):
        pass

    for pipeline, said in [
        (images().p.add(1).call(lambda batch: None), "step call <lambda> can't be sent"),
        (Dataset(3, Local).p.who(), "batch class .*Local can't be sent"),
    ]:
        with pytest.raises(DataError, match=f"{said}.*top level of a file.*threads"):
            pipeline.gen_batch(4, prefetch=1, target="processes")


def test_an_error_comes_after_the_batches_before_it_with_step_and_place():
    batches = images().p.add(1).fail_at(2).gen_batch(4, prefetch=2, target="processes")
    assert [next(batches).iteration, next(batches).iteration] == [0, 1]
    with pytest.raises(LookupError, match="no 2") as caught:
        next(batches)
    assert isinstance(caught.value.__cause__, OSError)
    notes = "".join(caught.value.__notes__ + caught.value.__cause__.__notes__)
    assert "step fail_at(2), on batch 2 (items 8, 9, 10, 11)" in notes
    assert "In the worker process" in notes
    assert "in fail_at" in notes
    with pytest.raises(StopIteration):
        next(batches)


def test_records_files_and_joint_data_sets_are_read_by_workers(tmp_path):
    fields = [{"name": "images", "shape": (2, 2), "dtype": "float32"}]
    with RecordWriter(tmp_path / "records", Schema.from_list(fields)) as writer:
        for number in range(6):
            writer.append({"images": np.full((2, 2), number, np.float32)})
    for number in range(6):
        np.save(tmp_path / f"{number}.npy", np.full((2, 2), number, np.float32))
    records = Dataset.from_records(tmp_path / "records", Images)
    files = Dataset(FilesIndex(str(tmp_path / "*.npy")), Images)
    joint = JointDataset((records, Dataset(6, preloaded={"note": np.arange(6)})), "id", Images)
    how = {"prefetch": 1, "target": "processes"}
    for pipeline in (
        records.p.add(1),
        files.p.load(components="images").add(1),
        joint.subset_by_pos([3, 1, 2]).p.add(1),
    ):
        assert seen(pipeline, **how) == seen(pipeline)


def test_skipped_batches_are_left_out():
    pipeline = images().p.skip_odd()
    found = [b.iteration for b in pipeline.gen_batch(4, prefetch=1, target="processes")]
    assert found == [0, 2, 4]


@pytest.mark.parametrize(
    ("how", "said"),
    [(signal.SIGKILL, "killed by SIGKILL, exit code -9"), (0, "ended with exit code 7")],
)
def test_a_worker_that_dies_in_a_batch_ends_the_run_by_name_and_exit_code(how, said):
    with pytest.raises(DataError, match=f"dovetail-worker-. .*{said}.*batch 3 .items 12"):
        images().p.die_at(3, int(how)).run(4, prefetch=1, target="processes")


def test_a_worker_that_dies_holding_a_lock_does_not_hang_the_others():
    with pytest.raises(DataError, match="SIGKILL"):
        images().p.die_holding(1).run(1, n_epochs=4, prefetch=4, target="processes")


def test_a_lock_is_held_by_one_worker_at_a_time(tmp_path):
    path = str(tmp_path / "log")
    images().p.append_slowly(path).run(2, prefetch=4, target="processes")
    lines = (tmp_path / "log").read_text().split()
    assert sorted(map(int, lines)) == list(range(12))


def test_leaving_early_or_dropping_the_iterator_ends_the_processes():
    pipeline = images().p.add(1).nap(0.01)
    for _ in pipeline.gen_batch(2, prefetch=3, target="processes"):
        break
    pipeline.gen_batch(2, prefetch=3, target="processes")  # never begun: nothing was started
    pipeline.next_batch(2, prefetch=1, target="processes")
    pipeline.reset()


def test_a_state_is_gone_on_from_exactly():
    from dovetail.data.pipeline.flow import Flow, Pass

    pipeline = images().p.jitter()
    how = Pass(5, shuffle=True, n_epochs=2, prefetch=1, target="processes")
    with Flow(pipeline, how) as flow:
        whole = [batch.images.tobytes() for batch in flow]
    with Flow(pipeline, how) as flow:
        for _ in range(3):
            next(flow)
        state = flow.state
    with Flow(pipeline, how, state) as flow:
        assert [batch.images.tobytes() for batch in flow] == whole[3:]


def test_a_script_without_a_main_guard_is_told_so(tmp_path):
    script = tmp_path / "bare.py"
    script.write_text(
        "from dovetail.data.batches.batch import Batch\n"
        "from dovetail.data.datasets.dataset import Dataset\n"
        "Dataset(4).p.call(len).run(2, prefetch=1, target='processes')\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "if __name__ == '__main__':" in done.stderr


def test_workers_end_when_the_process_that_started_them_is_killed(tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(
        "import os, time\n"
        "from dovetail.data.batches.actions import action\n"
        "from dovetail.data.batches.batch import Batch\n"
        "from dovetail.data.datasets.dataset import Dataset\n"
        "class Some(Batch):\n"
        "    components = ('who',)\n"
        "    @action\n"
        "    def tell(self):\n"
        "        self.who = [os.getpid()]\n"
        "        return self\n"
        "if __name__ == '__main__':\n"
        "    batches = Dataset(40, Some).p.tell().gen_batch(1, prefetch=2, target='processes')\n"
        "    print(next(batches).who[0], flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        worker = int(process.stdout.readline())
        process.kill()
    deadline = time.monotonic() + 20
    while _lives(worker) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _lives(worker)


def _lives(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{process}/stat")  # not on macOS
    return not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


@pytest.mark.parametrize("target", ["threads", "processes"])
def test_the_interpreter_exits_though_passes_were_left_half_way(tmp_path, target):
    script = tmp_path / "left.py"
    script.write_text(
        "from dovetail.data.batches.batch import Batch\n"
        "from dovetail.data.datasets.dataset import Dataset\n"
        "if __name__ == '__main__':\n"
        f"    how = dict(prefetch=1, target={target!r})\n"
        "    batches = Dataset(40).p.call(len).gen_batch(1, n_epochs=None, **how)\n"
        "    next(batches)\n"
        "    pipeline = Dataset(40).p.call(len)\n"
        "    pipeline.next_batch(1, **how)\n"
        "    for batch in Dataset(40).p.call(len).gen_batch(1, **how):\n"
        "        break\n"
        "    print('left')\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "left\n", "")
