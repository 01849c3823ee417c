"""Optimizers against plain torch loops, clipping and groups against torch, and descriptions."""

import dataclasses
import functools

import pytest
import torch
from torch import nn

import dovetail.definition.optimizers as optimizers
from dovetail.definition.optimizers import (
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    AdamW,
    Custom,
    Ftrl,
    Gradients,
    Momentum,
    ParamGroup,
    RMSProp,
    TrainOp,
    as_description,
    clip_gradients,
    no_decay,
    schedules,
    set_learning_rates,
)
from dovetail.definition.param_groups import select
from dovetail.errors import DefinitionError, ParamsError

STEPS = 12


def network():
    generator = torch.Generator().manual_seed(7)
    net = nn.Sequential(nn.Linear(5, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 2))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return net


def batches():
    generator = torch.Generator().manual_seed(11)
    return [torch.randn(6, 5, generator=generator) for _ in range(STEPS)]


def trained(description):
    """Parameters after some steps, as a program takes them with a description."""
    net = network()
    optimizer = description.build(net.named_parameters())
    for step, batch in enumerate(batches()):
        loss = net(batch).square().mean()
        optimizer.zero_grad()
        loss.backward()
        clip_gradients(description, net.parameters())
        set_learning_rates(description, optimizer, step)
        optimizer.step()
    return list(net.parameters())


def trained_by_hand(make, rate=None, clip=None):
    """Parameters after the same steps of a plain torch loop."""
    net = network()
    optimizer = make(net)
    for step, batch in enumerate(batches()):
        loss = net(batch).square().mean()
        optimizer.zero_grad()
        loss.backward()
        if clip is not None:
            clip(net.parameters())
        if rate is not None:
            for group in optimizer.param_groups:
                group["lr"] = rate(step)
        optimizer.step()
    return list(net.parameters())


def assert_same(ours, theirs):
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    start = list(network().parameters())
    assert not any(torch.equal(a, b) for a, b in zip(ours, start, strict=True))


@pytest.mark.parametrize(
    ("description", "torch_class", "arguments"),
    [
        (Adam(), torch.optim.Adam, {}),
        (
            Adam(0.02, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.1, amsgrad=True),
            torch.optim.Adam,
            {"lr": 0.02, "betas": (0.8, 0.99), "eps": 1e-6, "weight_decay": 0.1, "amsgrad": True},
        ),
        (AdamW(), torch.optim.AdamW, {}),
        (AdamW(0.02, weight_decay=0.2), torch.optim.AdamW, {"lr": 0.02, "weight_decay": 0.2}),
        (SGD(), torch.optim.SGD, {}),
        (
            SGD(0.1, momentum=0.5, dampening=0.1, weight_decay=0.01),
            torch.optim.SGD,
            {"lr": 0.1, "momentum": 0.5, "dampening": 0.1, "weight_decay": 0.01},
        ),
        (Momentum(0.1), torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
        (
            Momentum(0.1, momentum=0.8, nesterov=True),
            torch.optim.SGD,
            {"lr": 0.1, "momentum": 0.8, "nesterov": True},
        ),
        (RMSProp(), torch.optim.RMSprop, {}),
        (
            RMSProp(0.02, alpha=0.9, eps=1e-5, weight_decay=0.1, momentum=0.5, centered=True),
            torch.optim.RMSprop,
            {
                "lr": 0.02,
                "alpha": 0.9,
                "eps": 1e-5,
                "weight_decay": 0.1,
                "momentum": 0.5,
                "centered": True,
            },
        ),
        (Adagrad(), torch.optim.Adagrad, {}),
        (
            Adagrad(0.1, lr_decay=0.1, weight_decay=0.1, initial_accumulator_value=0.1, eps=1e-6),
            torch.optim.Adagrad,
            {
                "lr": 0.1,
                "lr_decay": 0.1,
                "weight_decay": 0.1,
                "initial_accumulator_value": 0.1,
                "eps": 1e-6,
            },
        ),
        (Adadelta(), torch.optim.Adadelta, {}),
        (
            Adadelta(0.5, rho=0.8, eps=1e-5, weight_decay=0.1),
            torch.optim.Adadelta,
            {"lr": 0.5, "rho": 0.8, "eps": 1e-5, "weight_decay": 0.1},
        ),
    ],
    ids=lambda value: repr(value)[:24] if isinstance(value, optimizers.Optimizer) else "",
)
def test_training_ends_with_the_parameters_of_a_plain_torch_loop(
    description, torch_class, arguments
):
    theirs = trained_by_hand(lambda net: torch_class(net.parameters(), **arguments))
    assert_same(trained(description), theirs)


@pytest.mark.parametrize(
    "schedule",
    [
        schedules.Constant(0.05),
        schedules.Exponential(0.1, 5, 0.5),
        schedules.PiecewiseConstant([3, 6], [0.1, 0.05, 0.01]),
        schedules.Polynomial(0.1, 8, 0.01, power=2.0),
        schedules.Linear(0.01, 8, 0.1),
        schedules.Cosine(0.1, 8),
        schedules.WarmUp(schedules.Cosine(0.1, 5), 4),
        schedules.Sequential([(0.1, 3), (schedules.Linear(0.1, 5), 4), (0.02, None)]),
        lambda step: 0.1 / (1 + step),
    ],
    ids=lambda schedule: type(schedule).__name__,
)
@pytest.mark.parametrize("kind", [Momentum, Adam])
def test_a_schedule_gives_the_parameters_of_a_loop_that_sets_the_rate(schedule, kind):
    makers = {
        Momentum: lambda net: torch.optim.SGD(net.parameters(), lr=1.0, momentum=0.9),
        Adam: lambda net: torch.optim.Adam(net.parameters(), lr=1.0),
    }
    assert_same(trained(kind(schedule)), trained_by_hand(makers[kind], rate=schedule))


def test_clipping_is_torchs():
    make = lambda net: torch.optim.SGD(net.parameters(), lr=0.1)  # noqa: E731 (a line per case)
    by_norm = functools.partial(nn.utils.clip_grad_norm_, max_norm=0.05)
    by_value = functools.partial(nn.utils.clip_grad_value_, clip_value=0.01)
    assert_same(trained(SGD(0.1, clip_norm=0.05)), trained_by_hand(make, clip=by_norm))
    assert_same(trained(SGD(0.1, clip_value=0.01)), trained_by_hand(make, clip=by_value))
    clipped = trained(SGD(0.1, clip_norm=0.05))
    assert not torch.equal(clipped[0], trained(SGD(0.1))[0])


def test_clipping_by_norm_gives_the_norm_there_was():
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([3.0, 4.0])
    norm = clip_gradients(SGD(clip_norm=1.0), [weight])
    assert norm is not None
    assert norm.item() == 5.0
    assert weight.grad.norm().item() == pytest.approx(1.0, abs=1e-5)
    assert clip_gradients(SGD(), [weight]) is None


def test_groups_are_those_of_torch_written_by_hand():
    groups = [
        ParamGroup("3.weight", learning_rate=schedules.Linear(0.5, 10), weight_decay=0.3),
        ParamGroup("3.*", learning_rate_scale=0.5),
        *no_decay(),
    ]
    description = AdamW(schedules.Cosine(0.1, 10), weight_decay=0.1, groups=groups)

    def by_hand():
        net = network()
        p = dict(net.named_parameters())
        optimizer = torch.optim.AdamW(
            [
                {"params": [p["0.weight"]], "weight_decay": 0.1},
                {"params": [p["3.weight"]], "weight_decay": 0.3},
                {"params": [p["3.bias"]], "weight_decay": 0.1},
                {"params": [p["0.bias"], p["1.weight"], p["1.bias"]], "weight_decay": 0.0},
            ]
        )
        for step, batch in enumerate(batches()):
            base, head = schedules.Cosine(0.1, 10)(step), schedules.Linear(0.5, 10)(step)
            rates = [base, head, 0.5 * base, base]
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate
            optimizer.zero_grad()
            net(batch).square().mean().backward()
            optimizer.step()
        return list(net.parameters())

    assert_same(trained(description), by_hand())


def test_built_groups_say_what_they_hold():
    description = SGD(schedules.Linear(0.1, 10), weight_decay=0.1, groups=no_decay())
    rest, small = description.build(network().named_parameters()).param_groups
    assert rest["param_names"] == ["0.weight", "3.weight"]
    assert small["param_names"] == ["0.bias", "1.weight", "1.bias", "3.bias"]
    assert (rest["weight_decay"], small["weight_decay"]) == (0.1, 0.0)
    assert (rest["initial_lr"], small["initial_lr"]) == (0.1, 0.1)
    assert (rest["rule"], small["rule"]) == (-1, 0)


def test_a_group_without_parameters_is_left_out():
    groups = [ParamGroup("*"), *no_decay()]
    assert len(SGD(groups=groups).build(network().named_parameters()).param_groups) == 1


def test_a_pattern_that_matches_nothing_is_refused_with_the_nearest_name():
    net = nn.ModuleDict({"encoder": nn.Linear(2, 2)})
    with pytest.raises(DefinitionError, match=r"'encodr.weight'.*mean 'encoder.weight'.*are enc"):
        SGD(groups=[ParamGroup("encodr.weight")]).build(net.named_parameters())


def test_a_model_without_parameters_is_refused():
    with pytest.raises(DefinitionError, match="Adam: there are no parameters to train"):
        Adam().build([])


def test_learning_rates_are_set_again_after_a_state_is_loaded():
    description = SGD(0.1, groups=[ParamGroup("*.bias", learning_rate_scale=2.0)])
    old = SGD(0.7, groups=description.groups).build(network().named_parameters())
    new = description.build(network().named_parameters())
    new.load_state_dict(old.state_dict())
    assert [group["lr"] for group in new.param_groups] == [0.7, 1.4]
    assert set_learning_rates(description, new, 5) == 0.1
    assert [group["lr"] for group in new.param_groups] == [0.1, 0.2]


def test_a_learning_rate_kept_in_a_tensor_is_changed_in_place():
    description = SGD(schedules.Linear(1.0, 10))
    optimizer = description.build(network().named_parameters())
    rate = torch.tensor(1.0)
    optimizer.param_groups[0]["lr"] = rate
    assert set_learning_rates(description, optimizer, 5) == 0.5
    assert optimizer.param_groups[0]["lr"] is rate
    assert rate.item() == 0.5


# Any torch optimizer


def test_a_custom_optimizer_trains_as_its_factory_says():
    description = Custom(lambda parameters: torch.optim.NAdam(parameters, lr=0.05))
    by_hand = trained_by_hand(lambda net: torch.optim.NAdam(net.parameters(), lr=0.05))
    assert_same(trained(description), by_hand)
    scheduled = Custom(torch.optim.NAdam, learning_rate=schedules.Cosine(0.05, 10))
    rate = schedules.Cosine(0.05, 10)
    by_hand = trained_by_hand(lambda net: torch.optim.NAdam(net.parameters()), rate=rate)
    assert_same(trained(scheduled), by_hand)


def test_a_custom_factory_may_ask_for_names():
    def factory(named_parameters):
        biases = [p for name, p in named_parameters if name.endswith("bias")]
        return torch.optim.SGD(biases, lr=0.1)

    optimizer = Custom(factory).build(network().named_parameters())
    assert optimizer.param_groups[0]["param_names"] == ["0.bias", "1.bias", "3.bias"]
    assert set_learning_rates(Custom(factory), optimizer, 0) == 0.1


def test_a_custom_factory_gets_the_groups():
    description = Custom(torch.optim.NAdam, learning_rate=0.1, groups=no_decay())
    optimizer = description.build(network().named_parameters())
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.1]
    assert optimizer.param_groups[1]["param_names"][0] == "0.bias"


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (lambda parameters: "adam", "must return a torch.optim.Optimizer, but a str"),
        (lambda parameters: SGD(0.1), "must return a torch.optim.Optimizer, but a SGD"),
        (
            lambda parameters: torch.optim.SGD([nn.Parameter(torch.zeros(1))]),
            "other parameters than it was given",
        ),
    ],
)
def test_a_custom_factory_that_can_not_work_is_named_with_its_line(factory, message):
    with pytest.raises(DefinitionError, match=f"test_optimizers.py:.*{message}"):
        Custom(factory).build(network().named_parameters())


def test_custom_optimizers_are_equal_by_their_code_and_plain_values():
    def make(rate, momentum=0.0):
        return Custom(lambda parameters: torch.optim.SGD(parameters, lr=rate, momentum=momentum))

    assert make(0.1) == make(0.1)
    assert hash(make(0.1)) == hash(make(0.1))
    assert make(0.1) != make(0.2)
    partial = functools.partial(torch.optim.SGD, lr=0.1)
    assert Custom(partial) == Custom(functools.partial(torch.optim.SGD, lr=0.1))
    assert Custom(partial) != Custom(functools.partial(torch.optim.SGD, lr=0.2))


# Descriptions

KINDS = [Adam, AdamW, SGD, Momentum, RMSProp, Adagrad, Adadelta, Ftrl]


@pytest.mark.parametrize("kind", KINDS)
def test_a_description_is_a_frozen_value(kind):
    one, same = (
        kind(schedules.Cosine(0.1, 5), clip_norm=1.0, groups=list(no_decay())) for _ in range(2)
    )
    assert one == same
    assert hash(one) == hash(same)
    assert one != kind(schedules.Cosine(0.1, 6), clip_norm=1.0, groups=no_decay())
    assert one != kind(schedules.Cosine(0.1, 5), clip_value=1.0, groups=no_decay())
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.learning_rate = 0.1


def test_descriptions_of_two_kinds_differ():
    assert len({kind(0.1) for kind in KINDS}) == len(KINDS)
    assert SGD(0.1, momentum=0.9) != Momentum(0.1)


def test_schedules_written_as_functions_are_equal_by_their_code():
    def make(base):
        return SGD(lambda step: base / (1 + step))

    assert make(0.1) == make(0.1)
    assert make(0.1) != make(0.2)


@pytest.mark.parametrize("kind", KINDS)
def test_defaults_are_torchs(kind):
    theirs = {Momentum: torch.optim.SGD, RMSProp: torch.optim.RMSprop}.get(kind)
    theirs = theirs or getattr(torch.optim, kind.__name__, None)
    if theirs is None:
        assert kind is Ftrl
        return
    weight = nn.Parameter(torch.zeros(1))
    expected = theirs([weight]).defaults
    got = kind().build([("w", weight)]).defaults
    if kind is Momentum:
        expected["momentum"] = 0.9
    assert got == expected


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Adam(-1.0), "Adam: learning_rate can't be -1.0"),
        (lambda: Adam("1e-3"), "in YAML write 1.0e-3"),
        (lambda: Adam({"scheduler": "Cosine"}), r"schedules.get\("),
        (lambda: Adam(None), "learning_rate can't be None"),
        (lambda: Adam(eps=-1.0), "Adam: eps must be a finite number"),
        (lambda: Adam(betas=(0.9, 1.0)), "Adam: betas must be below 1"),
        (lambda: AdamW(betas=0.9), "AdamW: betas must be two numbers"),
        (lambda: SGD(weight_decay="x"), "SGD: weight_decay must be a finite number"),
        (lambda: SGD(nesterov=True), "nesterov needs momentum above 0"),
        (lambda: SGD(clip_norm=1.0, clip_value=1.0), "drop the other"),
        (lambda: SGD(clip_norm=-1.0), "clip_norm must be"),
        (lambda: SGD(groups=["*.bias"]), "must hold ParamGroup values, but '\\*.bias'"),
        (lambda: ParamGroup(weight_decay=-1.0), "weight_decay must be"),
        (lambda: ParamGroup(""), "pattern must be a name pattern"),
        (lambda: ParamGroup("a", learning_rate="x"), r"ParamGroup\('a'\): learning_rate can't"),
        (lambda: Custom("adam"), "Custom: factory must be a function"),
        (
            lambda: Custom(torch.optim.SGD, groups=[ParamGroup("a", learning_rate_scale=2.0)]),
            "that only the factory knows",
        ),
    ],
)
def test_nonsense_is_refused_when_it_is_built(make, message):
    with pytest.raises(DefinitionError, match=message):
        make()


def test_a_torch_scheduler_is_refused_with_the_cure():
    inner = torch.optim.SGD([nn.Parameter(torch.zeros(1))])
    scheduler = torch.optim.lr_scheduler.ConstantLR(inner)
    with pytest.raises(DefinitionError, match=r"use one of dovetail.optimizers.schedules"):
        SGD(scheduler)


def test_get_finds_optimizers_by_name():
    assert optimizers.get("momentum", learning_rate=0.1) == Momentum(0.1)
    assert optimizers.get("RMSProp") == RMSProp()
    rate = {"scheduler": "Cosine", "initial_learning_rate": 0.1, "decay_steps": 5}
    assert optimizers.get("adam", learning_rate=rate) == Adam(schedules.Cosine(0.1, 5))
    with pytest.raises(ParamsError, match=r"no optimizer 'momentun'. Did you mean 'momentum'"):
        optimizers.get("momentun")
    with pytest.raises(ParamsError, match=r"Adam has no argument 'beta'. Did you mean 'betas'"):
        optimizers.get("adam", beta=0.9)


def test_as_description_takes_descriptions_and_functions():
    description = Adam(0.1)
    assert as_description(description) is description
    assert as_description(torch.optim.NAdam) == Custom(torch.optim.NAdam)


def test_a_torch_optimizer_is_refused_with_the_cure():
    made = torch.optim.Adam([nn.Parameter(torch.zeros(1))])
    with pytest.raises(DefinitionError, match=r"torch.optim.Adam instance.*optimizers.Adam\("):
        as_description(made)
    with pytest.raises(DefinitionError, match=r"lambda parameters: torch.optim.NAdam\("):
        as_description(torch.optim.NAdam([nn.Parameter(torch.zeros(1))]))
    with pytest.raises(DefinitionError, match=r"Call it: Adam\("):
        as_description(Adam)
    with pytest.raises(DefinitionError, match=r"optimizers.get\('adam'\)"):
        as_description("adam")


# Train ops


def test_minimize_describes_and_touches_nothing():
    loss = torch.tensor(2.0, requires_grad=True)
    op = Adam(0.1).minimize(loss, global_step=torch.tensor(0), var_list=["a.*"])
    assert isinstance(op, TrainOp)
    assert op.optimizer == Adam(0.1)
    assert op.loss is loss
    assert op.var_list == ("a.*",)
    assert op.grads is None
    assert loss.grad is None
    with pytest.raises(DefinitionError, match="loss must be a scalar tensor, but a float"):
        Adam().minimize(2.0)


def test_gradients_pass_from_compute_to_apply():
    loss = torch.tensor(2.0)
    token = SGD(0.1).compute_gradients(loss, var_list="w")
    assert isinstance(token, Gradients)
    op = SGD(0.1).apply_gradients(token)
    assert op.loss is loss
    assert op.var_list == ("w",)
    for use in (lambda: list(token), lambda: token[0]):
        with pytest.raises(DefinitionError, match="gives a token, not values"):
            use()


def test_gradients_may_be_the_users_own():
    weight, gradient = nn.Parameter(torch.zeros(2)), torch.ones(2)
    assert SGD().apply_gradients({"w": gradient}).grads == {"w": gradient}
    pairs = SGD().apply_gradients(zip([gradient], [weight], strict=True)).grads
    assert pairs == ((gradient, weight),)
    for wrong in (gradient, [gradient], []):
        with pytest.raises(DefinitionError, match="apply_gradients: expected"):
            SGD().apply_gradients(wrong)


def test_var_list_selects_by_name_pattern_and_parameter():
    net = network()
    named = list(net.named_parameters())
    assert [n for n, _ in select(named, None)] == [n for n, _ in named]
    assert [n for n, _ in select(named, ["3.*", "0.bias"])] == ["0.bias", "3.weight", "3.bias"]
    assert [n for n, _ in select(named, [named[0][1]])] == ["0.weight"]
    with pytest.raises(DefinitionError, match=r"'0.weigt' is no parameter.*mean '0.weight'"):
        select(named, ["0.weigt"])
    with pytest.raises(DefinitionError, match=r"a \(1,\) tensor is no parameter"):
        select(named, [torch.zeros(1)])


def test_descriptions_are_made_inside_a_compiled_function():
    net = nn.Linear(3, 2)

    def model_fn(x):
        loss = net(x).square().mean()
        schedule = schedules.Sequential(
            [(schedules.PiecewiseConstant([2], [0.1, 0.2]), 5), (0.1, None)]
        )
        ops = [
            AdamW(schedules.WarmUp(schedules.Cosine(0.1, 9), 3), groups=no_decay(), clip_norm=1.0),
            SGD(schedule, groups=[ParamGroup("*.bias", weight_decay=0.0)]),
            Adam(0.1, betas=[0.9, 0.99]),
            optimizers.get("momentum", learning_rate={"scheduler": "constant", "learning_rate": 1}),
            Custom(lambda parameters: torch.optim.NAdam(parameters)),
            Ftrl(0.1),
        ]
        train_ops = [op.minimize(loss, global_step=None) for op in ops]
        train_ops.append(SGD(0.1).apply_gradients(SGD(0.1).compute_gradients(loss)))
        return [op.loss for op in train_ops]

    x = torch.ones(4, 3)
    for loss in torch.compile(model_fn, fullgraph=True, backend="eager")(x):
        assert torch.equal(loss, net(x).square().mean())
