"""The page on models in pipelines: its code with its names and order, its bodies anew in torch.

What a TensorFlow session holds, torch modules hold themselves; `session` stays where the page
passes it, as the object through which a step is run. Unbalanced brackets are mended where a comment
says so; a chain of calls over several lines stands in brackets, as Python needs it.
"""

import threading

import numpy as np
import pytest
import torch
from torch import nn

from dovetail.data.batches.actions import action
from dovetail.data.batches.images import ImagesBatch
from dovetail.data.datasets.dataset import Dataset
from dovetail.data.pipeline.model_methods import model
from dovetail.data.pipeline.pipeline import Pipeline
from dovetail.errors import ParamsError

ITEMS, BATCH_SIZE = 24, 8


class Session:
    """Runs a function of tensors and counts how often."""

    def __init__(self):
        self.runs = 0

    def run(self, step, *arrays):
        self.runs += 1
        return step(*(torch.from_numpy(np.asarray(one, np.float32)) for one in arrays))


def flat_net(pixels):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, 10))


def step_of(net):
    """What the page's cost and optimizer come to: one step on the mean squared error."""
    optimizer = torch.optim.Adam(net.parameters())

    def train_step(images, labels):
        optimizer.zero_grad()
        cost = torch.mean(torch.square(labels - net(images)))
        cost.backward()
        optimizer.step()
        return float(cost.detach())

    return train_step


class PageBatch(ImagesBatch):
    """What the page's batches have beside models: components, and actions it only names."""

    components = "images", "labels"

    @action
    def some_preprocessing(self):
        self.images = self.images.astype(np.float32) / 255
        return self

    @action
    def some_augmentation(self):
        return self.flip(p=0.5, component="images")


def some_dataset(batch_class):
    return Dataset(ITEMS, batch_class)


@pytest.fixture
def path(tmp_path):
    """The page's '/some/path': images and labels of all items, by id."""
    random = np.random.default_rng(0)
    images = random.integers(0, 255, (ITEMS, 28, 28, 1), np.uint8)
    labels = np.eye(10, dtype=np.float32)[random.integers(0, 10, ITEMS)]
    file = tmp_path / "images.npz"
    np.savez(file, id=np.arange(ITEMS), images=images, labels=labels)
    return file


# Model definition method


class MyBatch(PageBatch):
    @model(mode="global")
    def basic_model():
        net = flat_net(28 * 28)
        optimizer = step_of(net)
        return [net, optimizer]

    @model(mode="static")
    def static_model(pipeline, config=None):
        with pipeline.get_variable("session").scope("static"):
            net = flat_net(config["pixels"])
            optimizer = step_of(net)
        return [net, optimizer]

    @model(mode="dynamic")
    def advanced_model(self, config=None):
        # (None,) + self.images.shape]) on the page: mended, and without the batch's own size
        net = flat_net(int(np.prod(self.images.shape[1:])))
        session = Session()
        return dict(session=session, net=net, train_step=step_of(net))  # noqa: C408 (the page's)

    @action(model="basic_model")
    def train_model(self, model_spec, session):
        net, optimizer = model_spec  # noqa: RUF059 (the page's words)
        session.run(optimizer, self.images, self.labels)
        return self

    @action(model="static_model")
    def train_static(self, model_spec):
        self.pipeline.get_variable("session").run(model_spec[1], self.images, self.labels)
        return self

    @action(model="advanced_model")
    def train_advanced(self, model_spec):
        model_spec["session"].run(model_spec["train_step"], self.images, self.labels)
        return self


class ScopedSession(Session):
    def __init__(self):
        super().__init__()
        self.scopes = []

    def scope(self, name):
        self.scopes.append(name)
        return torch.enable_grad()


def test_the_global_model_is_trained_by_an_action_that_is_given_a_session(path):
    my_dataset, sess = some_dataset(MyBatch), Session()
    net = MyBatch.basic_model.descriptor[0]
    before = net[1].weight.detach().clone()
    full_workflow = (
        my_dataset.p
        .load(path)
        .some_preprocessing()
        .some_augmentation()
        .train_model(session=sess)
    )  # fmt: skip
    full_workflow.run(BATCH_SIZE, n_epochs=2)
    assert sess.runs == 2 * ITEMS // BATCH_SIZE
    assert not torch.equal(before, net[1].weight)


def test_the_static_model_has_the_pipeline_and_its_config(path):
    session = ScopedSession()
    template = (
        Pipeline(config={"static_model": {"pixels": 28 * 28}})
        .init_variable("session", session)
        .init_model("static_model")
    )
    assert session.scopes == ["static"]
    workflow = (template << some_dataset(MyBatch)).load(path).some_preprocessing().train_static()
    workflow.run(BATCH_SIZE)
    assert session.scopes == ["static"]
    assert session.runs == ITEMS // BATCH_SIZE


def test_the_dynamic_model_is_made_for_the_shape_of_the_images(path):
    small = some_dataset(MyBatch).p.load(path).resize((14, 14), component="images")
    workflow = small.some_preprocessing().train_advanced().run(BATCH_SIZE, n_epochs=2)
    spec = workflow.get_model_by_name("advanced_model")
    assert spec["net"][1].in_features == 14 * 14
    assert spec["session"].runs == 2 * ITEMS // BATCH_SIZE


# Model-based actions


class TwoActionsBatch(PageBatch):
    @model(mode="global")
    def basic_model():
        net = flat_net(28 * 28)
        return [net, step_of(net)]

    @action(model="basic_model")
    def train_model(self, model_spec):
        session = self.pipeline.get_variable("session")
        session.run(model_spec[1], self.images, self.labels)
        return self

    @action(model="basic_model")
    def evaluate_model(self, model_spec):
        session = self.pipeline.get_variable("session")
        outputs = session.run(model_spec[0], self.images)
        self.pipeline.get_variable("outputs", init=list).append(tuple(outputs.shape))
        return self


def test_several_actions_are_based_on_the_very_same_model(path):
    my_dataset, tf_session = some_dataset(TwoActionsBatch), Session()
    full_workflow = (
        my_dataset.p
        .init_variable("session", tf_session)
        .load(path)
        .some_preprocessing()
        .some_augmentation()
        .train_model()
        .evaluate_model()
    )  # fmt: skip
    full_workflow.run(BATCH_SIZE)
    assert tf_session.runs == 6
    assert full_workflow.get_variable("outputs") == [(8, 10)] * 3


class ByNameBatch(PageBatch):
    @model
    def vgg19(self):
        return ["vgg19"]

    @model
    def resnet50(self):
        return ["resnet50"]

    @action
    def one_action(self):
        return self

    @action
    def another_action(self):
        return self

    @action
    def train_model(self, model_name):
        model_spec = self.get_model_by_name(model_name)
        model_spec.append(self.iteration)
        return self


def test_one_action_serves_every_model_by_its_name():
    my_dataset = some_dataset(ByNameBatch)
    my_pipeline = (
        my_dataset.p
        .one_action()
        .another_action()
        .train_model("vgg19")
        .train_model("resnet50")
    )  # fmt: skip
    my_pipeline.run(BATCH_SIZE)
    assert my_pipeline.get_model_by_name("vgg19") == ["vgg19", 0, 1, 2]
    assert my_pipeline.get_model_by_name("resnet50") == ["resnet50", 0, 1, 2]


# Static model initialization

static_models = []


class StaticBatch(PageBatch):
    @model(mode="static")
    def my_static_model(pipeline):
        static_models.append(pipeline)
        return {"steps": 0}

    @action
    def prepocess(self):  # the page's spelling
        return self.some_preprocessing()

    @action(model="my_static_model")
    def count_step(self, spec):
        spec["steps"] += 1
        return self


def test_a_template_s_static_model_is_defined_once_and_used_with_each_data_set(path):
    static_models.clear()
    # Pipeline(). on the page, followed by .init_model: one dot is enough
    template_pipeline = (
        Pipeline()
        .init_model("my_static_model")
        .load(path)
        .prepocess()
        .normalize(component="images")
        .count_step()
    )  # fmt: skip
    mnist_dataset, cifar_dataset = some_dataset(StaticBatch), some_dataset(StaticBatch)
    my_mnist_pipeline = (template_pipeline << mnist_dataset).run(BATCH_SIZE, n_epochs=10)
    my_cifar_pipeline = (template_pipeline << cifar_dataset).run(BATCH_SIZE, n_epochs=10)
    assert len(static_models) == 1
    spec = my_mnist_pipeline.get_model_by_name("my_static_model")
    assert spec is my_cifar_pipeline.get_model_by_name("my_static_model")
    assert spec == {"steps": 60}


# Model import


class ClassifierBatch(PageBatch):
    @model(mode="dynamic")
    def resnet50(self):
        net = flat_net(int(np.prod(self.images.shape[1:])))
        return {"net": net, "train_step": step_of(net), "session": Session()}

    @action
    def train_classifier(self, model_name):
        spec = self.get_model_by_name(model_name)
        spec["session"].run(spec["train_step"], self.images, self.labels)
        return self

    @action
    def get_prediction(self, model_name):
        spec = self.get_model_by_name(model_name)
        with torch.no_grad():
            found = spec["session"].run(spec["net"], self.images).argmax(1)
        self.pipeline.get_variable("predictions", init=list).extend(found.tolist())
        return self


def test_a_model_that_one_pipeline_trained_predicts_in_another(path):
    images_dataset = some_dataset(ClassifierBatch)
    train_pipeline = (
        images_dataset.p
        .load(path)
        .random_rotate(angle=(-30, 30), component="images")
        .resize(shape=(256, 256), component="images")
        .normalize(component="images")
        .train_classifier(model_name="resnet50")
        .run(BATCH_SIZE, shuffle=True, n_epochs=1)
    )  # fmt: skip  # the page's bracket is never closed
    inference_pipeline_template = (
        Pipeline()
        .load(path)
        .resize(shape=(256, 256), component="images")
        .normalize(component="images")
        .import_model("resnet50", train_pipeline)
        .get_prediction(model_name="resnet50")
    )  # fmt: skip
    inference = (inference_pipeline_template << images_dataset).run(BATCH_SIZE)
    assert len(inference.get_variable("predictions")) == ITEMS
    spec = inference.get_model_by_name("resnet50")
    assert spec is train_pipeline.get_model_by_name("resnet50")
    assert spec["session"].runs == 6


def test_an_import_before_the_training_run_says_that_there_is_none_yet(path):
    untrained = some_dataset(ClassifierBatch).p.load(path).train_classifier("resnet50")
    template = Pipeline().load(path).import_model("resnet50", untrained).get_prediction("resnet50")
    with pytest.raises(ParamsError, match="has not built it yet"):
        (template << some_dataset(ClassifierBatch)).run(BATCH_SIZE)


# Parallel training


class LockedBatch(PageBatch):
    @model
    def some_model(self):
        self.pipeline.set_variable("counts", {"at_work": 0, "most": 0})
        counts = self.pipeline.get_variable("counts")

        def optimizer(images):
            counts["at_work"] += 1
            counts["most"] = max(counts["most"], counts["at_work"])
            total = float(images.sum())
            counts["at_work"] -= 1
            return total

        return [("images", "labels"), (optimizer, torch.mean, None)]

    @action(model="some_model", use_lock="some_model_lock")
    def train_it(self, model_spec):
        input_images, _ = model_spec[0]
        optimizer, cost, _ = model_spec[1]
        session = self.pipeline.get_variable("session")
        _, loss = session.run(lambda x: (optimizer(x), cost(x)), getattr(self, input_images))
        self.loss = float(loss)
        return self


def test_a_lock_allows_for_only_one_concurrent_execution(path):
    loaded = some_dataset(LockedBatch).p.init_variable("session", Session()).load(path)
    pipeline = loaded.train_it()
    pipeline.run(1, prefetch=6)
    assert pipeline.get_variable("counts") == {"at_work": 0, "most": 1}
    held = threading.Thread(target=lambda: pipeline.lock("some_model_lock").__enter__())
    held.start()
    held.join(5)
    assert not held.is_alive()
