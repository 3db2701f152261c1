"""Settings: resolved from a file and flags, written as TOML, read back the same."""

from __future__ import annotations

import dataclasses
import tomllib

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from fqi.errors import UserError
from fqi.options import base_types
from fqi.qfunctions.settings import MlpSettings
from fqi.regressors import REGRESSORS
from fqi.settings import TrainSettings, read_toml, resolve


def resolved(values=None, flags=None, discrete=False):
    return resolve(values or {}, discrete_observations=discrete, flags=flags, where="my.toml")


def test_nothing_is_left_to_be_chosen():
    config = resolved()
    assert config.train.regressor == "mlp"
    assert config.train.ensemble == REGRESSORS["mlp"].ensemble > 1
    assert config.train.holdout == REGRESSORS["mlp"].holdout
    assert config.train.target == "min"
    assert config.regressor == MlpSettings()


def test_discrete_observations_are_put_in_a_table():
    config = resolved(discrete=True)
    assert (config.train.regressor, config.train.ensemble, config.train.target) == ("table", 1, "max")


def test_a_single_head_has_its_own_maximum():
    assert resolved(flags={"ensemble": 1}).train.target == "max"


def test_flags_go_before_the_file():
    config = resolved({"gamma": 0.9, "iterations": 7, "mlp": {"width": 8, "depth": 1}}, {"gamma": 0.5, "width": 16})
    assert (config.train.gamma, config.train.iterations) == (0.5, 7)
    assert (config.regressor.width, config.regressor.depth) == (16, 1)


def test_a_flag_may_choose_another_regressor_than_the_file():
    assert resolved({"regressor": "mlp"}, {"regressor": "table"}).train.regressor == "table"


@pytest.mark.parametrize(("values", "flags", "message"), [
    ({"gamma": 2}, {}, r"my\.toml: gamma must be at most 1, found 2\.0"),
    ({"gamma": 0.5}, {"gamma": 2}, "command line: gamma must be at most 1"),
    ({"gamma": float("nan")}, {}, "gamma must be a number"),
    ({"gama": 0.5}, {}, r"my\.toml: unknown option 'gama'; known are "),
    ({"iterations": 0}, {}, "iterations must be at least 1"),
    ({"iterations": 2.5}, {}, "iterations must be int"),
    ({"n_step": 0}, {}, "n-step must be at least 1"),
    ({"seed": -1}, {}, "seed must be at least 0"),
    ({"seeds": 0}, {}, "seeds must be at least 1"),
    ({"ensemble": 0}, {}, "ensemble must be at least 1"),
    ({"holdout": 0.95}, {}, r"holdout must be at most 0\.9"),
    ({"workers": 0}, {}, "workers must be at least 1"),
    ({"device": "tpu"}, {}, "device must be one of auto, cpu, cuda, found 'tpu'"),
    ({"target": "median"}, {}, "target must be one of auto, max, mean, min"),
    ({"target": "double", "ensemble": 1}, {}, "target double compares the heads of an ensemble; give ensemble 2"),
    ({"target": "double-previous", "average": 2}, {}, "target double-previous looks at single rounds, and average 2"),
    ({"temperature": 0.5}, {}, "temperature has an effect only with target softmax or mellowmax, found 'auto'"),
    ({"target": "softmax", "temperature": 0.0}, {}, "temperature must be greater than 0"),
    ({"n_step_rule": "cut"}, {}, "n-step-rule cut has an effect only with an n-step of 2 or more, found 1"),
    ({"trace_decay": 0.5}, {}, "trace-decay has an effect only with an n-step of 2"),
    ({"n_step": 2, "importance_cap": 3.0}, {}, "importance-cap has an effect only with n-step-rule importance"),
    ({"priority_alpha": 0.5}, {}, "priority-alpha has an effect only with weights prioritised, found 'uniform'"),
    ({"weights": "split", "ensemble": 1}, {}, "weights split shares the episodes out among heads; give ensemble 2"),
    ({"priority_beta": 0.5}, {}, "priority-beta has an effect only with weights prioritised"),
    ({"priority_rounds": 5}, {}, "priority-rounds has an effect only with weights prioritised"),
    ({"weights": "prioritised", "priority_alpha": 1.5}, {}, "priority-alpha must be at most 1"),
    ({"behaviour_weights": "random"}, {}, "behaviour-weights must be NAME=WEIGHT, .* found 'random'"),
    ({"behaviour_weights": "a=1,b=0"}, {}, "weights above 0, with commas between; found 'b=0' in 'a=1,b=0'"),
    ({"behaviour_weights": "a=1,a=2"}, {}, "behaviour-weights: a is given twice"),
    ({"expectile": 0.8}, {}, "expectile has an effect only with target expectile, found 'auto'"),
    ({"target": "expectile", "expectile": 0.4}, {}, "expectile must be at least 0.5"),
    ({"propensities": "estimated"}, {}, "propensities has an effect only with n-step-rule importance"),
    ({"occupancy": "discounted", "gamma": 1.0}, {}, "occupancy discounted weighs by gamma.t and has an effect only"),
    ({"average": 0}, {}, "average must be at least 1"),
    ({"regressor": "forest"}, {}, "regressor must be one of auto, table"),
    ({"mlp": {"width": 0}}, {}, r"my\.toml: mlp: width must be at least 1"),
    ({"mlp": {"wide": 1}}, {}, r"my\.toml: mlp: unknown option 'wide'"),
    ({"mlp": {"lr": 0.0}}, {}, "mlp: lr must be greater than 0"),
    ({"mlp": {"loss": "cubic"}}, {}, "loss must be one of huber, squared, quantile"),
    ({"mlp": 3}, {}, r"my\.toml: mlp must be a table of options, found 3"),
    ({"linear": "ridge"}, {}, r"my\.toml: linear must be a table of options, found 'ridge'"),
    ({"linear": 3}, {}, r"my\.toml: linear must be a table of options, found 3"),
    ({"linear": {"ridge": 0.1}}, {}, r"my\.toml: ridge belongs to the linear regressor and has no effect on mlp"),
    ({"regressor": "trees", "mlp": {"batch": 3}}, {}, "batch belongs to the mlp regressor and has no effect on trees"),
    ({"general": {"gamma": 1}}, {}, "unknown option 'general'"),
    ({}, {"width": 0}, "command line: mlp: width must be at least 1"),
    ({"regressor": "linear"}, {"conservative": 1.0}, "and has no effect on linear, .* constraint holds every"),
    ({}, {"ridge": 0.1}, "--ridge belongs to the regressor linear and has no effect on mlp"),
    ({}, {"max_features": 0.5}, "--max-features belongs to the regressor trees and has no effect on mlp"),
    ({"regressor": "table"}, {"width": 3}, "--width belongs to the regressor mlp or multimodal and has"),
    ({}, {"widht": 3}, "--widht: no such option"),
    ({"ensemble": 1, "target": "min"}, {}, "target min compares the heads of an ensemble; give ensemble 2 or more"),
    ({"ensemble": 1}, {"target": "mean"}, "target mean compares"),
    ({"regressor": "table", "seeds": 2}, {}, "table regressor is exact"),
    ({"regressor": "table", "ensemble": 2}, {}, "table regressor is exact"),
    ({"regressor": "table", "workers": 2}, {}, "workers has no effect on the table regressor"),
    ({"holdout": 0.0, "mlp": {"patience": 2}}, {}, "patience looks at held-out rows; give a holdout greater than 0"),
    ({"mlp": {"checks": 3}}, {}, "checks has an effect only with patience above 0"),
    ({"mlp": {"huber": 3.0, "loss": "squared"}}, {}, "huber has an effect only with loss huber or quantile"),
    ({"n_step": 2, "trace_decay": 0.1, "mlp": {"loss": "quantile"}}, {}, "loss quantile takes .* does not go with"),
    ({"mlp": {"quantiles": 4}}, {}, "quantiles has an effect only with loss quantile, found 'squared'"),
    ({}, {"huber": 3.0, "loss": "squared"}, "huber has an effect only with loss huber or quantile"),
])  # fmt: skip
def test_what_is_wrong_is_named(values, flags, message):
    with pytest.raises(UserError, match=message) as found:
        resolved(values, flags)
    assert "\n" not in str(found.value)


SEARCHED = {"maximise": "cem"}


def test_continuous_actions_are_searched():
    config = resolve({}, discrete_observations=False, continuous=True)
    assert (config.train.maximise, config.train.regressor, config.heads) == ("cem", "mlp", 2)
    assert (config.train.cem_samples, config.train.cem_elites, config.train.cem_iterations) == (64, 6, 2)
    assert config.train.target == "clipped"
    assert resolve({}, discrete_observations=False, costs=True, continuous=True).train.target == "mean"
    # Discrete frames are columns then: a table holds no continuous action.
    assert resolve({}, discrete_observations=True, continuous=True).train.regressor == "mlp"
    assert resolve({}, discrete_observations=False, continuous=False).train.maximise == "enumerate"
    assert resolve({"ensemble": 3}, discrete_observations=False, continuous=True).heads == 3


@pytest.mark.parametrize(("values", "continuous", "message"), [
    ({"cem_samples": 32}, False, "cem-samples has an effect only with maximise cem, found 'enumerate'"),
    ({"cem_start": "box"}, False, "cem-start has an effect only with maximise cem"),
    (SEARCHED, False, "maximise cem has no meaning for the log's Discrete actions; give auto"),
    ({"maximise": "enumerate"}, True, "maximise enumerate has no meaning for the log's continuous actions"),
    ({"regressor": "trees"}, True, "the trees regressor has one output per action, and the log's are continuous; give"),
    ({"target": "softmax"}, True, "target softmax .* give one of max, mean, min, clipped, double, mixture"),
    ({"target": "double-previous"}, True, "target double-previous .* at an earlier round's values"),
    ({"average": 2}, True, "average needs the values of all actions"),
    ({"n_step": 3, "n_step_rule": "cut"}, True, "n-step-rule cut: a logged continuous action is never quite"),
    ({"n_step": 3, "n_step_rule": "importance"}, True, "n-step-rule importance: a greedy policy has no density"),
    ({"constraint": 0.3}, True, "constraint counts how often an action is taken"),
    ({"cem_elites": 65}, True, "cem-elites 65 are more than the cem-samples 64"),
    ({"cem_samples": 1}, True, "cem-samples must be at least 2"),
])  # fmt: skip
def test_what_has_no_meaning_for_these_actions_is_refused(values, continuous, message):
    with pytest.raises(UserError, match=message):
        resolve(values, discrete_observations=False, continuous=continuous)


def values_of(kind):
    """Right values for some of the fields of these settings."""
    of_field = {}
    for field in dataclasses.fields(kind):
        rule, types = field.metadata, base_types(field)
        if rule["choices"]:
            values = st.sampled_from(rule["choices"])
        elif bool in types:
            values = st.booleans()
        elif str in types:
            values = st.just(field.default)
        else:
            low = rule["low"] if rule["low"] is not None else rule["above"] + 1e-6
            high = 10**6 if rule["high"] is None else rule["high"]
            values = st.integers(int(low), int(high)) if int in types else st.floats(low, high)
        of_field[field.name] = values
    return st.fixed_dictionaries({}, optional=of_field)


@pytest.mark.parametrize("name", REGRESSORS)
@examples(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_resolves_survives_toml(name, data):
    general, own = data.draw(values_of(TrainSettings)), data.draw(values_of(REGRESSORS[name].settings))
    try:
        config = resolved(general | {"regressor": name, name: own})
    except UserError:
        return  # values that are right by themselves and wrong together
    text = config.toml()
    again = resolve(tomllib.loads(text), discrete_observations=not name)
    assert again == config
    assert again.toml() == text
    for key, value in own.items():
        assert getattr(again.regressor, key) == value


def test_a_members_heads_depend_on_its_own_seed_alone():
    three = resolved({"seed": 5, "seeds": 3, "ensemble": 4}).head_seeds()
    assert len(set(three)) == 12
    for member in range(3):
        alone = resolved({"seed": 5 + member, "ensemble": 4}).head_seeds()
        assert alone == three[4 * member : 4 * member + 4]


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(UserError, match="no such configuration file"):
        read_toml(tmp_path / "none.toml")
    with pytest.raises(UserError, match="cannot be read"):
        read_toml(tmp_path)
    bad = tmp_path / "bad.toml"
    bad.write_text("gamma = \n")
    with pytest.raises(UserError, match=r"bad\.toml: not valid TOML"):
        read_toml(bad)
    bad.write_bytes(b"\xff")
    with pytest.raises(UserError, match="not valid TOML"):
        read_toml(bad)


def test_every_option_has_help_and_a_right_default():
    for kind in (TrainSettings, *(regressor.settings for regressor in REGRESSORS.values())):
        for field in dataclasses.fields(kind):
            assert field.metadata["help"].endswith((".", "]", "…")), field.name
            assert field.default is None or isinstance(field.default, base_types(field)), field.name


def test_no_name_is_an_option_of_the_training_and_of_a_regressor():
    # As a flag it could not be told which is meant.
    general = {f.name for f in dataclasses.fields(TrainSettings)}
    for regressor in REGRESSORS.values():
        assert not general & {f.name for f in dataclasses.fields(regressor.settings)}
        assert not general & set(REGRESSORS)


def test_a_log_with_skill_in_it_holds_an_mlp_to_what_its_behaviour_does():
    def constraint(guided=True, continuous=False, **values):
        return resolve(values, discrete_observations=False, continuous=continuous, guided=guided).train.constraint

    assert constraint() == 0.5
    assert constraint(guided=False) == 0
    assert constraint(constraint=0.0) == 0
    assert constraint(guided=False, constraint=0.3) == 0.3
    assert constraint(regressor="trees") == 0
    assert constraint(stack=4) == 0  # the behaviour is cloned from single frames
    assert constraint(continuous=True) == 0


def test_the_target_errs_to_the_side_on_which_values_begin():
    assert resolve({}, discrete_observations=False).train.target == "min"
    assert resolve({}, discrete_observations=False, costs=True).train.target == "mean"
    assert resolve({"ensemble": 1}, discrete_observations=False, costs=True).train.target == "max"
    assert resolve({"target": "min"}, discrete_observations=False, costs=True).train.target == "min"
