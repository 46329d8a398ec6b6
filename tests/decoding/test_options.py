"""Wrong options and arguments are errors of one line."""

import pytest

from captioner.decoding import STRATEGIES, generate
from captioner.errors import SpecError
from tests.support.models.probability_worlds import decode


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        ("beem", "beam"),
        ("beam(widht=3)", "width"),
        ("greedy(width=3)", "width"),
        ("beam(min_lenght=3)", "min_length"),
        ("beam(width=0)", "width"),
        ("beam(width=2.5)", "width"),
        ("beam(width=9)", "width"),
        ("diverse(width=9)", "width"),
        ("constrained(must_include=['ant'], width=9)", "width"),
        ("beam(n_best=4)", "n_best"),
        ("beam(length_penalty=-1)", "length_penalty"),
        ("beam(length_penalty='long')", "length_penalty"),
        ("diverse(width=4, groups=3)", "groups"),
        ("diverse(penalty=-0.5)", "penalty"),
        ("sample(temperature=0)", "temperature"),
        ("sample(temperature=-1.0)", "temperature"),
        ("sample(top_p=0.0)", "top_p"),
        ("sample(top_p=1.5)", "top_p"),
        ("sample(top_k=-1)", "top_k"),
        ("sample(n=0)", "n"),
        ("sample(seed='x')", "seed"),
        ("greedy(min_length=6)", "max_length"),
        ("greedy(no_repeat_ngram=-1)", "no_repeat_ngram"),
        ("greedy(allow_unknown=1)", "allow_unknown"),
        ("greedy(banned='ant')", "banned"),
        ("greedy(banned=['unicorn'])", "unicorn"),
        ("greedy(banned=['ant bee'])", "single"),
        ("greedy(banned=[''])", "banned"),
        ("constrained(must_include=['unicorn'])", "unicorn"),
        ("constrained(must_include=['ant bee cat dog', 'dog ant bee'])", "max_length"),
        ("constrained(must_include=['ant'], banned=['ant'])", "ant"),
    ],
)
def test_wrong_options_are_one_line(world, spec, word):
    with pytest.raises(SpecError) as caught:
        decode(world, spec)
    assert "\n" not in str(caught.value) and word in str(caught.value)


def test_arguments_of_generate_are_checked(world):
    with pytest.raises(SpecError, match="tokenizer"):
        generate(world, world.features([0]), "greedy(banned=['ant'])")
    for wrong in (0, -1, 2.5, None):
        with pytest.raises(SpecError, match="max_length"):
            generate(world, world.features([0]), "greedy", max_length=wrong)
    with pytest.raises(SpecError, match="option"):
        STRATEGIES["beam"](widht=3)
