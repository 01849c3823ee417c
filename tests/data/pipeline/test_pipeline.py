"""Pipelines as values: their builder, operators, names, and ways of being run."""

import gc
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.data.batches.actions import UnknownActionError, action
from dovetail.data.batches.batch import Batch
from dovetail.data.datasets.dataset import Dataset
from dovetail.data.pipeline.named import Config
from dovetail.data.pipeline.pipeline import Pipeline
from dovetail.errors import DataError, DefinitionError, ParamsError


class Numbers(Batch):
    components = ("x",)

    @action
    def add(self, n):
        self.x = self.x + n
        return self

    @action
    def times(self, n):
        """Multiply by a number."""
        self.x = self.x * n
        return self

    @action
    def nothing(self):
        pass

    @action
    def squares(self):
        return Numbers(self.indices, preloaded=(self.x**2,))

    @action
    def record(self, into):
        into.append(self.iteration)
        return self

    def no_action(self):
        return self


def numbers(count=6):
    return Dataset(count, Numbers, preloaded=(np.arange(count),))


def given_by(pipeline, batch_size=4, **options):
    return [batch.x.tolist() for batch in pipeline.gen_batch(batch_size, **options)]


def test_actions_are_methods_done_in_order_to_each_batch():
    assert given_by(numbers().p.add(1).times(10)) == [[10, 20, 30, 40], [50, 60]]


def test_nothing_is_done_before_it_is_run():
    done = []
    pipeline = numbers().p.record(done)
    assert done == []
    batches = pipeline.gen_batch(2)
    assert done == []
    next(batches)
    assert done == [0]
    batches.close()
    pipeline.run(3)
    assert done == [0, 0, 1]


def test_what_was_preloaded_is_not_changed_by_actions():
    pipeline = numbers().p.add(1)
    assert given_by(pipeline) == given_by(pipeline)


def test_each_method_and_operator_leaves_its_operands_as_they_were():
    template = Pipeline(config={"k": 1}).add(1)
    other = Pipeline().times(2).init_variable("v", 0)
    before = [template.describe(), other.describe()]
    template + other, template * 3, 2 * template, template @ 0.5, template << numbers()
    numbers() >> other, other.add(5), other.init_variable("w"), other.rebatch(3)
    template.update_variable("v", 1), template.filter(len), template.call(len)
    assert [template.describe(), other.describe()] == before
    assert not other.has_variable("w")
    assert not template.has_variable("v")


def test_sum_does_one_after_the_other_in_either_order_of_binding():
    template, bound = Pipeline().add(1), numbers(3).p.times(10)
    assert given_by(template + bound) == [[10, 20, 30]]
    assert given_by(bound + template) == [[1, 11, 21]]
    assert given_by((template + template) << numbers(3)) == [[2, 3, 4]]


def test_sum_keeps_variables_models_config_and_data_of_both():
    data = numbers(3)
    one = Pipeline(config={"net": {"width": 3}}).init_variable("a", 1)
    two = data.pipeline({"net": {"depth": 2}, "k": 1}).init_variable("b", 2)
    both = one + two
    assert both.dataset is data
    assert both.config == {"net": {"width": 3, "depth": 2}, "k": 1}
    assert both.get_variable("a") == 1
    assert both.get_variable("b") == 2


def test_a_sum_of_pipelines_over_different_data_is_refused():
    with pytest.raises(ParamsError, match="merge"):
        numbers().p + numbers().p


def test_repeating_does_the_steps_so_often_and_zero_times_is_nothing():
    assert given_by(numbers(3).p.add(1) * 3) == [[3, 4, 5]]
    assert given_by(np.int64(2) * numbers(3).p.add(1)) == [[2, 3, 4]]
    assert given_by(numbers(3).p.add(1) * 0) == [[0, 1, 2]]
    assert (Pipeline().init_variable("v", 7) * 0).get_variable("v") == 7


def test_negative_repeats_are_refused():
    with pytest.raises(ParamsError, match="0 or more times; got -1"):
        Pipeline().add(1) * -1
    with pytest.raises(TypeError):
        Pipeline() * 1.5


@pytest.mark.parametrize("outside", [-0.1, 1.5, float("nan")])
def test_a_probability_outside_0_to_1_is_refused(outside):
    with pytest.raises(ParamsError, match="between 0 and 1"):
        Pipeline().add(1) @ outside


def test_steps_with_a_probability_are_done_to_that_share_of_batches():
    pipeline = numbers(2000).p.times(0) + (Pipeline().add(1) @ 0.3)
    got = given_by(pipeline, 1, seed=3)
    share = np.mean(got)
    assert 0.26 < share < 0.34
    assert got == given_by(pipeline, 1, seed=3)
    assert got != given_by(pipeline, 1, seed=4)


def test_several_choices_on_one_batch_have_nothing_to_do_with_each_other():
    pipeline = (numbers(2000).p.times(0) + Pipeline().add(1) @ 0.5) + Pipeline().add(2) @ 0.5
    shares = np.bincount(np.concatenate(given_by(pipeline, 1)), minlength=4) / 2000
    assert np.allclose(shares, 0.25, atol=0.04)


def test_probability_1_is_always_and_0_never():
    assert given_by(numbers(3).p.add(1) @ np.float32(1)) == [[1, 2, 3]]
    assert given_by(numbers(3).p.add(1) @ 0) == [[0, 1, 2]]


def test_a_choice_goes_on_after_an_action_that_makes_a_batch_of_its_own():
    pipeline = numbers(400).p.squares().times(0) + Pipeline().add(1) @ 0.5
    assert {0, 1} == set(np.concatenate(given_by(pipeline, 1)))


def test_what_needs_all_batches_can_not_be_left_to_chance():
    with pytest.raises(ParamsError, match="rebatch 3"):
        Pipeline().rebatch(3) @ 0.5


def test_an_unknown_action_is_refused_at_once_with_the_nearest_name():
    with pytest.raises(UnknownActionError, match="Did you mean 'times'"):
        numbers().p.tmes(2)
    with pytest.raises(AttributeError, match="'no_action' of Numbers is no action"):
        numbers().p.no_action()


def test_a_template_is_checked_when_it_meets_its_batch_class():
    template = Pipeline().add(1).tmes(2)
    with pytest.raises(UnknownActionError, match="Did you mean 'times'"):
        template << numbers()
    with pytest.raises(UnknownActionError, match="times"):
        numbers() >> (template @ 0.5)
    with pytest.raises(UnknownActionError, match="times"):
        numbers().p + template


def test_a_mistyped_method_of_pipelines_is_found_too():
    with pytest.raises(UnknownActionError, match="init_variable"):
        numbers().p.init_varable("x", 0)


def test_an_action_that_a_method_of_pipelines_would_hide_is_refused():
    class Hidden(Batch):
        @action
        def filter(self):
            return self

    with pytest.raises(DefinitionError, match="Hidden has an action 'filter'"):
        Dataset(3, Hidden).pipeline()


def test_actions_are_offered_for_completion_with_their_docstrings():
    assert {"add", "times", "run"} <= set(dir(numbers().p))
    assert "no_action" not in dir(numbers().p)
    assert numbers().p.times.__doc__ == "Multiply by a number."


def test_a_template_can_not_be_run_and_says_what_to_do():
    for use in (lambda p: p.run(2), lambda p: p.gen_batch(2), lambda p: p.next_batch(2)):
        with pytest.raises(DataError, match="pipeline << dataset"):
            use(Pipeline().add(1))


@pytest.mark.parametrize("thing", [3, [1, 2], None, Pipeline()])
def test_only_a_data_set_stands_on_the_right_of_the_arrow(thing):
    with pytest.raises(ParamsError, match="pipeline << dataset"):
        Pipeline() << thing


def test_a_data_set_is_not_shifted_by_a_number():
    with pytest.raises(TypeError, match=r"for >>: 'Dataset' and 'int'"):
        numbers() >> 3


def test_a_batch_class_that_does_not_fit_is_refused():
    with pytest.raises(UnknownActionError, match="Batch has no action 'add'"):
        Pipeline().add(1) << Dataset(3)


def test_an_action_that_returns_no_batch_is_named():
    with pytest.raises(DataError, match="'nothing' of Numbers returned nothing.*return self"):
        numbers().p.nothing().run(2)


def test_an_error_says_in_which_step_and_on_which_items():
    with pytest.raises(TypeError) as caught:
        numbers().p.add(1).add("one").run(4, n_epochs=1)
    assert caught.value.__notes__ == [
        "In the pipeline's step add('one'), on batch 0 (items 0, 1, 2, 3)."
    ]


def test_how_it_is_run_can_be_kept_for_later():
    lazy = numbers(4).p.add(1).run(3, n_epochs=2, lazy=True)
    assert given_by(lazy, None) == [[1, 2, 3], [4, 1, 2], [3, 4]]
    assert given_by(lazy.add(1), None)[0] == [2, 3, 4]
    assert given_by(lazy, 4, n_epochs=1) == [[1, 2, 3, 4]]
    assert lazy.next_batch().x.tolist() == [1, 2, 3]
    assert given_by((Pipeline().add(5) + lazy), None)[0] == [6, 7, 8]


def test_without_a_batch_size_it_is_not_run():
    with pytest.raises(ParamsError, match="batch_size"):
        numbers().p.run()


def test_an_unknown_option_is_refused_with_the_nearest():
    with pytest.raises(ParamsError, match="Did you mean 'n_epochs'"):
        numbers().p.run(2, n_epoch=3)


@pytest.mark.parametrize(
    "option", [{"prefetch": -1}, {"prefetch": 1.5}, {"prefetch": True}, {"target": "thread"}]
)
def test_a_wrong_way_to_prefetch_is_refused(option):
    with pytest.raises(ParamsError, match="prefetch"):
        numbers().p.run(2, **option)


def test_next_batch_goes_round_until_it_is_reset():
    pipeline = numbers(3).p.add(1)
    assert [pipeline.next_batch(2).x.tolist() for _ in range(3)] == [[1, 2], [3, 1], [2, 3]]
    pipeline.next_batch(2)
    pipeline.reset("iter")
    assert pipeline.next_batch(3).x.tolist() == [1, 2, 3]


def test_next_batch_ends_after_its_epochs():
    pipeline = numbers(3).p
    pipeline.next_batch(2, n_epochs=1)
    pipeline.next_batch(2, n_epochs=1)
    with pytest.raises(StopIteration):
        pipeline.next_batch(2, n_epochs=1)


def test_next_batch_is_not_asked_for_in_another_way_half_way():
    pipeline = numbers(3).p
    pipeline.next_batch(2)
    with pytest.raises(ParamsError, match="batch_size=2, and asks for 3"):
        pipeline.next_batch(3)
    with pytest.raises(ParamsError, match="shuffle=False, and asks for True"):
        pipeline.next_batch(2, shuffle=True)


def test_next_batch_after_an_error_says_to_begin_anew():
    pipeline = numbers(3).p.add("one")
    with pytest.raises(TypeError):
        pipeline.next_batch(2)
    with pytest.raises(DataError, match=r"ended with an error .*reset\('iter'\)"):
        pipeline.next_batch(2)
    pipeline.reset("iter")
    with pytest.raises(TypeError):
        pipeline.next_batch(2)


def test_reset_forgets_what_it_is_told_to():
    pipeline = numbers(3).p.init_variable("v", [])
    pipeline.get_variable("v").append(1)
    pipeline.next_batch(2)
    pipeline.reset("variables")
    assert pipeline.get_variable("v") == []
    assert pipeline.next_batch(2).x.tolist() == [2, 0]
    pipeline.reset()
    assert pipeline.next_batch(2).x.tolist() == [0, 1]
    with pytest.raises(ParamsError, match="Did you mean 'variables'"):
        pipeline.reset("variable")


def test_a_value_in_the_config_reaches_actions():
    template = Pipeline(config={"n": 2}).add(Config("n"))
    assert given_by(template << numbers(2)) == [[2, 3]]
    assert given_by(template + numbers(2).pipeline({"n": 5})) == [[5, 6]]
    with pytest.raises(ParamsError, match="a dict"):
        Pipeline(config=3)


def test_a_filter_drops_batches_or_items():
    assert given_by(numbers(6).p.filter(lambda b: b.x % 2 == 0), 4) == [[0, 2], [4]]
    assert given_by(numbers(6).p.filter(lambda b: bool(b.x[0])), 2) == [[2, 3], [4, 5]]
    assert given_by(numbers(6).p.filter(lambda b: b.x < 3), 3) == [[0, 1, 2]]
    with pytest.raises(DataError, match="True or False"):
        numbers(6).p.filter(lambda b: 3).run(2)
    with pytest.raises(ParamsError, match="filter takes a function of the batch; got None"):
        numbers(6).p.filter(None)


def test_functions_are_called_with_the_batch():
    seen = []
    pipeline = numbers(3).p.call(lambda batch, n: seen.append(batch.x.sum() + n), 10)
    assert given_by(pipeline.call(lambda batch: batch.subset(np.array([0])))) == [[0]]
    assert seen == [13]
    with pytest.raises(ParamsError, match="function of the batch"):
        Pipeline().call("add")


def test_steps_are_timed_and_described():
    pipeline = numbers(6).p.add(1).init_variable("v", 0) + Pipeline().times(2) @ 0.5
    pipeline.run(2)
    rows = pipeline.timings()
    assert [row["step"] for row in rows] == ["add(1)", "with probability 0.5", "times(2)"]
    assert [row["times"] for row in rows][:2] == [3, 3]
    assert all(row["seconds"] >= 0 for row in rows)
    text = pipeline.describe()
    assert "Dataset(6 items, Numbers)" in text
    assert "variable v" in text
    assert "add(1)   3 x" in text
    assert "a template" in Pipeline().describe()
    assert repr(pipeline) == "Pipeline(Dataset(6 items, Numbers), 2 steps)"


def test_a_dropped_pipeline_is_freed():
    pipeline = numbers().p.add(1).init_variable("v", [])
    pipeline.run(2, prefetch=2)
    pipeline.next_batch(2)
    gone = weakref.ref(pipeline)
    del pipeline
    gc.collect()
    assert gone() is None


def test_a_progress_bar_counts_batches(capsys):
    assert len(list(numbers(6).p.gen_batch(2, bar=True))) == 3
    assert "Batches" in capsys.readouterr().err


# What pipelines mean, read in plain Python: a list of functions of (array, draw a choice).
class Reading:
    def __init__(self, steps):
        self.steps = steps

    def __call__(self, x, draw):
        for step in self.steps:
            x = step(x, draw)
        return x


def _leaf(name, n):
    function = (lambda x, draw: x + n) if name == "add" else (lambda x, draw: x * n)
    return getattr(Pipeline(), name)(n), Reading([function])


def _sum(one, other):
    return one[0] + other[0], Reading([*one[1].steps, *other[1].steps])


def _times(one, count):
    return one[0] * count, Reading(one[1].steps * count)


def _chance(one, p):
    inner = one[1]
    if not one[0].steps:
        return one
    return one[0] @ p, Reading([lambda x, draw: inner(x, draw) if draw() < p else x])


def _pairs():
    leaves = st.builds(_leaf, st.sampled_from(["add", "times"]), st.integers(-3, 3))
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.builds(_sum, inner, inner),
            st.builds(_times, inner, st.integers(0, 3)),
            st.builds(_chance, inner, st.sampled_from([0, 0.3, 0.5, 1])),
        ),
        max_leaves=8,
    )


@given(_pairs(), _pairs(), st.integers(1, 7), st.booleans(), st.integers(0, 2))
def test_any_algebra_gives_what_a_plain_reading_of_it_gives(one, other, size, left, seed):
    from dovetail.data.batches.batch_random import chance

    data = numbers(10)
    bound = (one[0] << data) + other[0] if left else one[0] + (data >> other[0])
    reading = Reading([one[1], other[1]])
    expected = []
    for number in range(-(-10 // size)):
        choices = iter(range(10**6))
        x = np.arange(10)[number * size : (number + 1) * size]
        expected.append(reading(x, lambda n=number, c=choices: chance(seed, n, next(c))).tolist())
    assert given_by(bound, size, seed=seed) == expected


@given(
    st.integers(1, 12),
    st.integers(1, 15),
    st.integers(0, 3),
    st.sampled_from([False, True, 5]),
    st.booleans(),
)
def test_an_epoch_holds_every_item_exactly_once(length, size, epochs, shuffle, drop_last):
    if drop_last and size > length:
        return
    batches = list(
        numbers(length).p.gen_batch(size, n_epochs=epochs, shuffle=shuffle, drop_last=drop_last)
    )
    ids = np.concatenate([np.empty(0, int), *(batch.indices for batch in batches)])
    of_epoch = np.concatenate([np.empty(0, int), *(batch.epochs for batch in batches)])
    for epoch in range(epochs):
        counts = np.bincount(ids[of_epoch == epoch], minlength=length)
        if drop_last:
            assert counts.max() <= 1
            assert counts.sum() == length // size * size
        else:
            assert counts.tolist() == [1] * length
    assert set(of_epoch.tolist()) <= set(range(epochs))
