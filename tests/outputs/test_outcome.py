"""The three outcomes: thresholds, confidence, wording, and what captions and alternative texts make of them."""

import math

import numpy as np
import pytest
import tensorflow as tf

from captioner.decoding.backend import numpy_backend
from captioner.engines.base import captions_of
from captioner.exporting.sentences import Sentences
from captioner.outputs.alt_text import alt_text
from captioner.outputs.confidence import Confidence, features
from captioner.outputs.outcome import Judge, confidence_features, judged, wording
from captioner.text import Tokenizer
from captioner.text.languages import LANGUAGES
from captioner.types import OUTCOMES, Caption, Hypotheses
from tests.support.models.outcomes import CALIBRATION, parameters

TOKENIZER = Tokenizer(["a", "dog", "runs"])
# Of four images: captions with the end, cut off without one, with an unknown word, and empty.
IDS = np.int32([[[4, 5, 2, 0]], [[4, 5, 6, 5]], [[4, 3, 5, 2]], [[2, 0, 0, 0]]])
LENGTHS = np.int32([[3], [4], [4], [1]])
WORD_LOGP = np.float32([[[-1, -2, -0.5, 0]], [[-3, -1, -4, -2]], [[-0.1, -0.2, -0.1, -9]], [[-0.3, 0, 0, 0]]])
LOGP = WORD_LOGP.sum(axis=-1)
HYPOTHESES = Hypotheses(IDS, LENGTHS, LOGP, LOGP, WORD_LOGP, np.zeros((4, 1, 4, 1), np.float32))


def codes(judge, scores, hypotheses=HYPOTHESES):
    """The codes in NumPy, which those of a graph must equal."""
    with numpy_backend():
        result = judge.codes(np.float32(scores), hypotheses)
    graph = tf.function(judge.codes, autograph=False)
    tensors = Hypotheses(*map(tf.constant, hypotheses))
    assert graph(tf.constant(scores, tf.float32), tensors).numpy().tolist() == result.tolist()
    assert result.dtype == np.int32
    return [OUTCOMES[code] for code in result]


def test_thresholds_of_the_score():
    """Hedged above 1.5, declined above 2.5; at a threshold the milder outcome."""
    outcomes = codes(Judge(parameters()), [1.4, 1.5, 2.5, 2.6])
    assert outcomes == ["caption", "caption", "hedged", "declined"]


def test_low_confidence_is_hedged():
    confidence = Confidence(CALIBRATION)
    captions = captions_of(HYPOTHESES, TOKENIZER, (1, 1))
    values = [confidence.of(caption) for caption in captions]
    assert values[3] == 0 and values[1] < 0.5 < values[0]
    for least in (0.0, 0.25, 0.5, 0.75, 0.9):
        judge = Judge(parameters(least_confidence=np.array(least, np.float32)), CALIBRATION)
        expected = ["hedged" if value < least or value == 0 else "caption" for value in values]
        assert codes(judge, [1, 1, 1, 1]) == expected
        assert codes(judge, [9, 9, 9, 9]) == ["declined"] * 4
    # A model without a calibration has no confidence.
    assert codes(Judge(parameters(least_confidence=np.array(0.9, np.float32))), [1] * 4) == ["caption"] * 4


def test_features_of_confidence_in_arrays():
    captions = captions_of(HYPOTHESES, TOKENIZER, (1, 1))[:3]
    with numpy_backend():
        columns = confidence_features(HYPOTHESES)
    np.testing.assert_allclose(np.stack(columns, axis=1)[:3], [features(c) for c in captions], rtol=1e-6)


@pytest.mark.parametrize("language", [*LANGUAGES, "de-AT", "fr"])
def test_graphs_and_python_word_alike(language):
    sentences = ["a dog", "", "一只狗", "ein kätzchen"]
    for code, outcome in enumerate(OUTCOMES):
        expected = [wording(sentence, outcome, language) for sentence in sentences]
        outputs = Sentences.outcomes(tf.constant(sentences), tf.fill([4], code), tf.fill([4], 1.5), language)
        assert [text.decode() for text in outputs["text"].numpy()] == expected
        assert set(outputs["outcome"].numpy()) == {outcome.encode()}
        assert (expected == sentences) == (outcome == "caption")
        assert all(expected) == (outcome == "declined")
    assert wording("a dog", None, language) == "a dog"


def test_captions_keep_their_sentence():
    plain = Caption("a dog", -1.5, ("a", "dog"), -1.5, (-0.5, -0.7), alternatives=(Caption("a cat"),))
    assert (plain.text, plain.caption, plain.outcome, plain.ood_score) == ("a dog", "a dog", None, None)
    sure, unsure, declined = judged([plain] * 3, [0, 1, 2], [1.0, 2.0, 3.0], "en")
    assert [c.text for c in (sure, unsure)] == ["a dog", "Perhaps: a dog"]
    assert declined.text == str(declined) == "no caption: unlike anything this model was trained on"
    assert {c.caption for c in (sure, unsure, declined)} == {"a dog"} and declined.ok
    assert all(c.words == plain.words and c.alternatives == plain.alternatives for c in (unsure, declined))
    assert [c.ood_score for c in (sure, unsure, declined)] == [1.0, 2.0, 3.0]
    assert len({plain, sure, unsure, declined}) == 4 and sure != plain
    assert repr(unsure).endswith("1 alternative, hedged)")


def test_alternative_texts():
    plain = Caption("a dog", words=("a", "dog"))
    sure, unsure, declined = judged([plain] * 3, [0, 1, 2], [1.0, 2.0, 3.0], "en")
    assert alt_text(sure) == alt_text(plain)
    assert (alt_text(unsure).text, alt_text(unsure).flagged) == ("Perhaps: A dog.", True)
    assert alt_text(unsure, confidence=0.9).text == "Perhaps: A dog."
    assert (alt_text(unsure, hedge=False).text, alt_text(unsure, hedge=False).flagged) == ("A dog.", True)
    no_caption = alt_text(declined, confidence=0.9)
    assert no_caption.text == "No caption: unlike anything this model was trained on." and no_caption.flagged
    assert alt_text(declined, max_length=30).text == "No caption."
    assert alt_text(declined, language="de").text.startswith("Keine Beschreibung: ")
    assert alt_text(declined, language="fr").text == "(?)"


def test_the_calibration_has_one_formula():
    confidence = Confidence(CALIBRATION)
    logit = confidence.logit(*(np.float64([value]) for value in (-1.0, -2.0, 3.0)))
    assert logit.tolist() == [2.0 - 1.0 - 0.5]
    caption = Caption("a dog", -1.5, ("a", "dog"), -1.5, (-0.5, -0.75))
    assert confidence.of(caption) == pytest.approx(1 / (1 + math.exp(-confidence.logit(*features(caption)))))
