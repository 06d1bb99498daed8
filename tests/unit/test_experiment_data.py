"""Studies whose data contradict themselves are refused, by name of the field."""

import pytest
from toy_study import SIDES, study

from gocom.common.errors import InvalidInput
from gocom.evaluation.experiment.experiment import (
    Against,
    Claim,
    Curves,
    Experiment,
    Factor,
    Means,
    Pair,
    erasure,
    option,
    ours,
)

QUALITY = option("quality", (20, 60))


def experiment(**given):
    return Experiment(**({"name": "one", "title": "One", "sets": {"images": 1}, "factors": (QUALITY,)} | given))


def nothing(bench, picture):
    return []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": "one two"}, "experiment: name 'one two' must be letters, digits and underscores"),
        (
            {"measure": nothing},
            "experiment one: measure: it knows nothing of factors, settings, only, subject and probe",
        ),
        ({"factors": (), "settings": {"quality": 3}, "measure": nothing}, "experiment one: measure: it knows"),
        ({"factors": (), "only": bool, "measure": nothing}, "experiment one: measure: it knows"),
        ({"seeds": 0}, "experiment one: seeds: 0; there must be one or more"),
        ({"sets": {}}, "experiment one: sets: there must be one or more"),
        ({"sets": {"images": 0}}, "experiment one: sets: there must be one or more"),
        ({"factors": (QUALITY, QUALITY)}, "experiment one: factors: two have one name"),
        ({"factors": (Factor("bytes", {1: {}}),)}, "experiment one: factors: 'bytes' is a field of every row"),
        ({"factors": (Factor("seed", {1: {}}),)}, "experiment one: factors: 'seed' is a field of every row"),
        ({"factors": (Factor("budget", {}),)}, "experiment one: factors: budget has no levels"),
        (
            {"views": (Means(("qualty",)),)},
            "experiment one: views: no key 'qualty'; there are set, picture, seed, quality",
        ),
        ({"views": (Means((), where={"rate": 0.1}),)}, "views: no key 'rate'"),
        ({"views": (Against((Pair("a", {"quality": 20}, {"q": 60}),)),)}, "views: no key 'q'"),
        ({"views": (Curves("c", "rate", ()),)}, "views: no key 'rate'"),
        ({"views": (Curves("c", "bytes", (), points=("rate",)),)}, "views: no key 'rate'"),
        ({"views": (Curves("c", "quality", (), columns="rate"),)}, "views: no key 'rate'"),
        ({"views": (Curves("c", "quality", (), level=({"rate": 0}, "none")),)}, "views: no key 'rate'"),
        ({"views": (Curves("c", "quality", ()), Curves("c", "quality", ()))}, "views: two curves have one name"),
    ],
)
def test_an_experiment_that_contradicts_itself_is_refused(given, said):
    with pytest.raises(InvalidInput) as error:
        experiment(**given)
    assert said in str(error.value)


def test_what_is_whole_is_taken():
    views = Means(("set", "quality"), where={"seed": None}), Curves("c", "bytes", ("set",), points=("quality",))
    assert experiment(views=views).views == views
    own = experiment(factors=(), measure=nothing, views=(Means(("any",)),))
    assert own.measure is nothing


@pytest.mark.parametrize(
    ("experiments", "given", "said"),
    [
        ((SIDES, SIDES), {}, "study jpeg: two experiments have one name"),
        (
            (experiment(),),
            {"claims": (Claim(names="Fig. 2", shows="", said="", experiments=("sides",)),)},
            "study jpeg: Fig. 2 names no experiment 'sides'",
        ),
        ((experiment(sets={"street": 1}),), {}, "study jpeg: one wants pictures of no set 'street'"),
    ],
)
def test_a_study_that_contradicts_itself_is_refused(experiments, given, said):
    with pytest.raises(InvalidInput) as error:
        study(*experiments, **given)
    assert said in str(error.value)


def test_common_factors():
    assert erasure((0, 0.2)).levels == {0: {"channel": "clean"}, 0.2: {"channel": "packet_erasure:rate=0.2"}}
    assert Factor("quality", {20: {"quality": 20}, 60: {"quality": 60}}) == QUALITY
    pairs = ours("quality", 60, (20, 60), "{} beside {}")
    assert pairs == (Pair("60 beside 20", {"quality": 60}, {"quality": 20}),)
