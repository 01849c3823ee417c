"""Models in pipelines: built when, with what, kept where, and shared with whom."""

import gc
import threading
import time
import weakref

import numpy as np
import pytest

from dovetail.data.batches.actions import SkipBatch, action
from dovetail.data.batches.batch import Batch
from dovetail.data.datasets.dataset import Dataset
from dovetail.data.pipeline.model_methods import model
from dovetail.data.pipeline.pipeline import Pipeline
from dovetail.errors import ParamsError

built = []


class Descriptor:
    def __init__(self, holder=None, config=None):
        self.holder, self.config = holder, config


class Modelled(Batch):
    components = ("x", "found")

    @model(mode="global")
    def of_all():
        return Descriptor()

    @model(mode="static")
    def of_template(pipeline, config=None):
        built.append("of_template")
        return Descriptor(pipeline, config)

    @model
    def dyn(self, config=None):
        built.append("dyn")
        time.sleep(0.002)
        return Descriptor(self, config)

    @model
    def n(self):
        return Descriptor()

    @model
    def asks_for_others(self):
        return [self.get_model_by_name("dyn"), self.get_model_by_name("of_all")]

    @model
    def asks_for_itself(self):
        return self.get_model_by_name("asks_for_itself")

    @model
    def fails_once(self):
        built.append("fails_once")
        if built.count("fails_once") == 1:
            raise LookupError("the first time")
        return "made"

    @action(model="of_all")
    def with_global(self, spec, *more):
        return self.put(spec)

    @action(model="of_template")
    def with_static(self, spec):
        return self.put(spec)

    @action(model="dyn")
    def with_dynamic(self, spec, note=None):
        assert note in (None, "note")
        return self.put(spec)

    @action(model=dyn)
    def with_the_method_itself(self, spec):
        return self.put(spec)

    @action
    def by_name(self, name):
        return self.put(self.get_model_by_name(name))

    def put(self, spec):
        self.found = [spec] * len(self)
        return self


@pytest.fixture(autouse=True)
def _none_built_yet():
    built.clear()


def data(count=8):
    return Dataset(count, Modelled, preloaded={"x": np.arange(count)})


def found(pipeline, size=2, **options):
    return [batch.found[0] for batch in pipeline.gen_batch(size, **options)]


def test_a_descriptor_comes_before_the_arguments_of_the_action():
    specs = found(data().p.with_dynamic("note"))  # where the note is looked at
    assert all(isinstance(one, Descriptor) for one in specs)


def test_a_global_model_is_one_for_all_pipelines():
    one, two = found(data().p.with_global()), found(data().p.with_global())
    assert {*one, *two} == {Modelled.of_all.descriptor}


def test_a_static_model_is_built_where_it_is_declared_with_pipeline_and_config():
    template = Pipeline(config={"of_template": {"a": 1, "net": {"w": 1}}, "k": 2})
    declared = template.init_model(Modelled.of_template, {"b": 2, "net": {"d": 3}})
    assert built == ["of_template"]
    spec = declared.get_model_by_name("of_template")
    assert spec.config == {"a": 1, "b": 2, "net": {"w": 1, "d": 3}}
    assert spec.holder.config["k"] == 2
    assert spec.holder.get_variable("session", 3) == 3


def test_a_templates_static_model_is_shared_by_all_pipelines_made_from_it():
    template = Pipeline().init_model("of_template").with_static()
    specs = {*found(template << data()), *found(data() >> template), *found(template + data().p)}
    assert len(specs) == 1
    assert built == ["of_template"]


def test_a_static_model_that_was_not_declared_is_refused():
    with pytest.raises(ParamsError, match=r"\.init_model\('of_template'\)"):
        data().p.with_static().run(2)


def test_a_dynamic_model_is_built_by_the_first_action_that_asks_once_for_each_pipeline():
    template = Pipeline(config={"dyn": {"a": 1}}).init_model("dyn", {"b": 2}).with_dynamic()
    one, two = template << data(), template << data()
    assert built == []
    specs = found(one) + found(one, n_epochs=3)
    assert len(set(specs)) == 1
    assert built == ["dyn"]
    assert specs[0].config == {"a": 1, "b": 2}
    assert specs[0].holder.x.tolist() == [0, 1]
    assert found(two)[0] is not specs[0]
    assert built == ["dyn", "dyn"]


def test_a_dynamic_model_is_dropped_by_reset_alone():
    pipeline = data().p.with_dynamic()
    first = found(pipeline)[0]
    assert found(pipeline.reset("iter", "variables"))[0] is first
    assert found(pipeline.reset("models"))[0] is not first
    assert found(pipeline.reset())[0] is not first


def test_many_threads_that_ask_at_once_get_one_model():
    pipeline = data(64).p.by_name("dyn")
    assert len(set(found(pipeline, 1, prefetch=16))) == 1
    assert built == ["dyn"]
    barrier, specs = threading.Barrier(8), []
    other = data().p
    batch = next(other.gen_batch(2))

    def ask():
        barrier.wait()
        specs.append(other.get_model_by_name("dyn", batch))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(set(specs)) == 1
    assert built == ["dyn", "dyn"]


def test_a_model_may_ask_for_others_and_not_for_itself():
    pipeline = data().p.by_name("asks_for_others")
    first = found(pipeline)[0]
    assert first == [pipeline.get_model_by_name("dyn"), Modelled.of_all.descriptor]
    with pytest.raises(ParamsError, match="asks for itself"):
        data().p.by_name("asks_for_itself").run(2)


def test_a_model_that_could_not_be_built_is_built_the_next_time():
    pipeline = data().p.by_name("fails_once")
    with pytest.raises(LookupError, match="the first time"):
        pipeline.run(2)
    assert found(pipeline)[0] == "made"


def test_actions_may_name_the_method_itself():
    pipeline = data().p.with_the_method_itself().with_dynamic()
    assert found(pipeline)[0] is pipeline.get_model_by_name("dyn")


def test_names_are_exact():
    pipeline = data().p.by_name("n").with_dynamic()
    pipeline.run(2)
    assert pipeline.get_model_by_name("n") is not pipeline.get_model_by_name("dyn")
    with pytest.raises(ParamsError, match="no model 'yn'"):
        data().p.by_name("yn").run(2)
    with pytest.raises(ParamsError, match="no model method 'f_template'.*'of_template'"):
        Pipeline().init_model("f_template")


def test_an_unknown_model_is_refused_with_the_nearest():
    with pytest.raises(ParamsError, match="no model 'dym'.*Did you mean 'dyn'.*import_model"):
        data().p.by_name("dym").run(2)
    with pytest.raises(ParamsError, match="no model method 'dym'"):
        data().p.init_model("dym")


def test_a_model_asked_for_before_it_exists_is_an_error_that_says_so():
    pipeline = data().p.with_dynamic()
    with pytest.raises(ParamsError, match="no model 'dyn' yet.*built when the pipeline is run"):
        pipeline.get_model_by_name("dyn")
    pipeline.run(2)
    assert isinstance(pipeline.get_model_by_name("dyn"), Descriptor)


def test_an_imported_model_is_the_very_object():
    train = data().p.with_dynamic()
    template = Pipeline().import_model("dyn", train).by_name("dyn")  # before it is built
    train.run(2)
    spec = train.get_model_by_name("dyn")
    assert set(found(template << data())) == {spec}
    assert (template << data()).get_model_by_name("dyn") is spec
    assert built == ["dyn"]


def test_an_imported_model_goes_before_one_of_the_class():
    class Importing(Batch):
        components = ("found",)

        @model
        def dyn(self):
            return "its own"

        @action(model="dyn")
        def use(self, spec):
            self.found = [spec] * len(self)
            return self

    train = data().p.with_dynamic().run(2)
    pipeline = Dataset(4, Importing).p.import_model("dyn", train).use()
    assert found(pipeline)[0] is train.get_model_by_name("dyn")
    assert found(Dataset(4, Importing).p.use())[0] == "its own"


def test_an_import_of_what_was_not_built_yet_says_so():
    train = data().p.with_dynamic()
    with pytest.raises(ParamsError, match="has not built it yet. Run it first"):
        data().p.import_model("dyn", train).with_dynamic().run(2)
    with pytest.raises(ParamsError, match=r"Add .init_model\('of_template'\) to it"):
        data().p.import_model("of_template", train).with_static().run(2)
    with pytest.raises(ParamsError, match="has no such model; it has: none"):
        data().p.import_model("nothing", train).by_name("nothing").run(2)
    with pytest.raises(ParamsError, match="source is a pipeline"):
        Pipeline().import_model("dyn", data())  # pyright: ignore[reportArgumentType]


def test_static_and_global_models_can_be_imported_too():
    source = data().p.init_model("of_template")
    pipeline = data().p.import_model("of_template", source).with_static()
    assert found(pipeline)[0] is source.get_model_by_name("of_template")
    pipeline = data().p.import_model("of_all", source).with_global()
    assert found(pipeline)[0] is Modelled.of_all.descriptor


def test_models_survive_a_sum_and_two_different_ones_are_refused():
    train = data().p.with_dynamic().run(2)
    importing = Pipeline().import_model("dyn", train)
    both = (
        importing + Pipeline().init_model("of_template")
    ) + data().p.with_dynamic().with_static()
    assert found(both)[0] is both.get_model_by_name("of_template")
    assert both.get_model_by_name("dyn") is train.get_model_by_name("dyn")
    again = importing + Pipeline().import_model("dyn", train)  # the same one twice
    assert again.get_model_by_name("dyn") is train.get_model_by_name("dyn")
    one, other = Pipeline().init_model("of_template"), Pipeline().init_model("of_template")
    with pytest.raises(ParamsError, match="Both pipelines have a model 'of_template'"):
        one + other


def test_what_a_model_is_given_survives_a_sum_too():
    one = data().pipeline({"dyn": {"width": 1, "depth": 1}}).init_model("dyn", {"width": 2})
    other = Pipeline(config={"dyn": {"seed": 3}}).init_model("dyn", {"depth": 4}).with_dynamic()
    expected = {"width": 2, "depth": 4, "seed": 3}
    assert found(one + other)[0].config == expected
    assert found(other + one)[0].config == expected
    assert found(other << Dataset(4, Modelled, preloaded={"x": np.arange(4)}))[0].config == {
        "seed": 3,
        "depth": 4,
    }
    with pytest.raises(ParamsError, match="config is a dict; got 3"):
        Pipeline().init_model("dyn", 3)


def test_a_dropped_pipeline_is_freed_with_its_models():
    train = data().p.with_dynamic().run(2, prefetch=2)
    inference = data().p.import_model("dyn", train).with_dynamic().run(2)
    gone = weakref.ref(train), weakref.ref(train.get_model_by_name("dyn")), weakref.ref(inference)
    train.get_model_by_name("dyn").holder = None
    del train, inference
    gc.collect()
    assert [one() for one in gone] == [None, None, None]


def test_models_are_described():
    pipeline = data().p.init_model("of_template").import_model("dyn", data().p)
    assert "model    of_template (static)" in pipeline.describe()
    assert "model    dyn (imported)" in pipeline.describe()


def test_a_model_that_skips_its_batch_is_an_error():
    class Skipping(Batch):
        components = ("x",)

        @model
        def net(self):
            raise SkipBatch

        @action(model="net")
        def train(self, net):
            return self

    pipeline = Dataset(4, Skipping, preloaded=(np.arange(4),)).p.train()
    with pytest.raises(ParamsError, match="raised while the model 'net' was built"):
        pipeline.run(2)
