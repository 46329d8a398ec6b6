"""Diverse beam search against plain beam search."""

from tests.support.models.probability_worlds import captions, decode
from tests.support.models.strategies import KINDS


def test_without_penalty_each_group_is_beam_search(world):
    hypotheses = decode(world, "diverse(width=6, groups=2, penalty=0.0)")
    plain = decode(world, "beam(width=3, n_best=3)")
    for image in range(KINDS):
        assert captions(hypotheses, image)[::2] == captions(hypotheses, image)[1::2] == captions(plain, image)


def test_later_groups_avoid_words_of_the_first(world):
    hypotheses = decode(world, "diverse(width=6, groups=3, penalty=1.5)")
    plain = decode(world, "beam(width=2, n_best=2)")
    for image in range(KINDS):
        assert set(captions(plain, image)) <= set(captions(hypotheses, image))
    # With a penalty that outweighs all else, five groups of one share the five first ids among them.
    apart = decode(world, "diverse(width=5, groups=5, penalty=1000.0)")
    for image in range(KINDS):
        assert len({ids[0] for ids in captions(apart, image)}) == 5


def test_a_penalty_adds_variety(world):
    def variety(penalty):
        hypotheses = decode(world, f"diverse(width=6, groups=3, penalty={penalty})")
        return sum(len(set(captions(hypotheses, image))) for image in range(KINDS))

    assert variety(0.0) < variety(2.0)
