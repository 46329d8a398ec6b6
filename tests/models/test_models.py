"""The decoder contract for every row of the tables: stepping, teacher forcing and packing give the same logits."""

import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from captioner.decoding import generate
from captioner.errors import CaptionerError, ModelError, SpecError
from captioner.models import CaptionModel
from captioner.models.packing import pack, row_counts, unpack
from captioner.types import PAD, START
from tests.support.models.small_models import (
    CAPTIONS,
    CHANNELS,
    IMAGES,
    LENGTH,
    LOCATIONS,
    ROWS,
    SIZES,
    SPECS,
    TOKENIZER,
    build,
    features_of,
    model_of,
    short,
)
from training.loop.losses import CaptionLoss

pytestmark = pytest.mark.usefixtures("unoptimised")
SIZE = len(TOKENIZER)
each_spec = pytest.mark.parametrize("spec", SPECS, ids=short)


def tree(function, *trees):
    return keras.tree.map_structure(function, *trees)


def stepped(model, features, captions):
    """Logits [T, V] and attention [T, L] of each caption, word by word; features has a row for each caption."""
    memory, state = model.start(features)
    words = np.full((len(captions), LENGTH + 1), PAD, np.int32)
    words[:, 0] = START
    for row, caption in enumerate(captions):
        words[row, 1 : len(caption) + 1] = caption
    logits, maps = [], []
    for t in range(LENGTH):
        output, attention, state = model.step(words[:, t], memory, state)
        logits.append(model.head(output))
        maps.append(attention)
    cut = [(row, len(caption)) for row, caption in enumerate(captions)]
    return [[np.stack(x)[:n, row] for row, n in cut] for x in (logits, maps)]


def packed_logits(model, features, captions, images, group, profile=None):
    packed = pack(captions, images, batch=len(features), group=group, profile=profile)
    return unpack(model({"features": features, **packed.as_inputs()}), packed)


@each_spec
def test_shapes_and_leading_axes(spec):
    model, batch, group = model_of(spec), 3, 2
    memory, state = model.start(features_of(batch))
    assert {leaf.shape[0] for leaf in keras.tree.flatten(memory)} == {batch}
    assert {leaf.shape[0] for leaf in keras.tree.flatten(state)} == {batch}
    rows = tree(lambda leaf: tf.repeat(leaf, group, axis=0), state)
    ids = np.array([1, 4, 5, 6, 7, 19], np.int32)
    output, attention, after = model.step(ids, memory, rows)
    assert attention.shape == (batch * group, LOCATIONS) and attention.dtype == tf.float32
    assert model.head(output).shape == (batch * group, SIZE)
    # A loop carries the state: its structure, shapes and types must stay.
    keras.tree.assert_same_structure(rows, after)
    for old, new in zip(keras.tree.flatten(rows), keras.tree.flatten(after), strict=True):
        assert (old.shape, old.dtype) == (new.shape, new.dtype)


@each_spec
def test_teacher_forcing_equals_stepping(spec):
    model, features = model_of(spec), features_of(3)
    expected, _ = stepped(model, features[IMAGES], CAPTIONS)
    exact = packed_logits(model, features, CAPTIONS, IMAGES, group=2)
    loose = [
        n + extra
        for n, extra in zip(row_counts([len(c) for c in CAPTIONS]), [3, 3, 3, 4, 1, 1, 1], strict=True)
    ]
    padded = packed_logits(model, features, CAPTIONS, IMAGES, group=3, profile=loose)
    for one, other, wanted in zip(exact, padded, expected, strict=True):
        np.testing.assert_allclose(one, wanted, atol=2e-5)
        np.testing.assert_allclose(other, wanted, atol=2e-5)


def test_word_logp_of_captions():
    model, features = model_of(SPECS[0]), features_of(3)
    logp = model.word_logp(features, CAPTIONS, IMAGES)
    for caption, image, caption_logp in zip(CAPTIONS, IMAGES, logp, strict=True):
        ((logits,), _) = stepped(model, features[[image]], [caption])
        expected = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        np.testing.assert_allclose(caption_logp, expected[np.arange(len(caption)), caption], atol=2e-5)
        np.testing.assert_allclose(model.word_logp(features[[image]], [caption])[0], caption_logp, atol=2e-5)


@each_spec
def test_rows_of_an_image_share_its_memory(spec):
    """G beams of an image, reordered on the way, are G images with a beam each."""
    model, features, group = model_of(spec), features_of(2), 3
    memory, state = model.start(features)
    apart, alone = model.start(np.repeat(features, group, axis=0))
    state = tree(lambda leaf: tf.repeat(leaf, group, axis=0), state)
    rng = np.random.default_rng(0)
    for _ in range(4):
        ids = rng.integers(1, SIZE, 2 * group).astype(np.int32)
        output, attention, state = model.step(ids, memory, state)
        expected, expected_attention, alone = model.step(ids, apart, alone)
        np.testing.assert_allclose(output, expected, atol=1e-5)
        np.testing.assert_allclose(attention, expected_attention, atol=1e-5)
        order = np.concatenate([rng.integers(0, group, group), group + rng.integers(0, group, group)])
        state, alone = tree(lambda leaf: tf.gather(leaf, order), (state, alone))  # noqa: B023


@each_spec
def test_attention_sums_to_one(spec):
    model = model_of(spec)
    memory, state = model.start(features_of(2))
    for word in (1, 5, 6):
        _, attention, state = model.step(np.full(2, word, np.int32), memory, state)
        total = attention.numpy().sum(-1)
        if spec.startswith("show_and_tell"):
            assert not total.any()
        elif spec.startswith("adaptive"):
            assert (total > 0).all() and (total < 1).all()
        else:
            np.testing.assert_allclose(total, 1.0, atol=1e-6)
        assert (attention.numpy() >= 0).all()


@each_spec
def test_every_weight_gets_a_gradient(spec):
    model, features = model_of(spec), features_of(3)
    packed = pack(CAPTIONS, IMAGES, batch=3, group=2)
    weights = model.decoder.trainable_variables
    with tf.GradientTape() as tape:
        logits = model({"features": features, **packed.as_inputs()}, training=True)
        loss = CaptionLoss()(packed.targets, logits, packed.weights)
    assert abs(float(loss) - math.log(SIZE)) < 0.5
    for weight, gradient in zip(weights, tape.gradient(loss, [w.value for w in weights]), strict=True):
        assert gradient is not None, f"{weight.path} is not part of the network"
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 0, f"{weight.path} gets no gradient"


@pytest.mark.parametrize("spec", [ROWS[0], *(s for s in SPECS if s.startswith("adaptive"))][:2])
def test_packing_changes_no_gradient(spec):
    model, features = model_of(spec), features_of(3)
    weights = [weight.value for weight in model.decoder.trainable_variables]

    def gradients(packed, features):
        with tf.GradientTape() as tape:
            logits = model({"features": features, **packed.as_inputs()})
            loss = tf.reduce_sum(CaptionLoss(0.1).call(packed.targets, logits) * packed.weights)
        return [tf.convert_to_tensor(gradient).numpy() for gradient in tape.gradient(loss, weights)]

    # Rows that only fill the profile, slots that stay empty, rows that end: none may leave a trace.
    together = gradients(pack(CAPTIONS, IMAGES, batch=3, group=3, profile=[8, 8, 6, 5, 5, 3, 2]), features)
    alone = [
        gradients(pack([caption], [0], batch=1, group=1), features[image : image + 1])
        for caption, image in zip(CAPTIONS, IMAGES, strict=True)
    ]
    for weight, packed, *single in zip(weights, together, *alone, strict=True):
        np.testing.assert_allclose(packed, sum(single), rtol=1e-3, atol=1e-5, err_msg=str(weight.shape))


@each_spec
def test_config_and_weights_rebuild_the_model(spec, tmp_path):
    model, features = model_of(spec), features_of(3)
    config = json.loads(json.dumps(model.get_config()))
    again = CaptionModel.from_config(config, tokenizer=TOKENIZER)
    for weight in again.weights:
        weight.assign(tf.zeros_like(weight))
    model.save_weights(tmp_path / "model.weights.h5")
    again.load_weights(tmp_path / "model.weights.h5")
    expected, after = (packed_logits(m, features, CAPTIONS[:2], IMAGES[:2], 1) for m in (model, again))
    for one, two in zip(expected, after, strict=True):
        np.testing.assert_array_equal(one, two)
    images = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3))
    np.testing.assert_array_equal(model.encode(images), again.encode(images))


@each_spec
def test_graph_with_any_batch_size(spec):
    model, images = model_of(spec), np.random.default_rng(3).uniform(0, 255, (3, 8, 8, 3)).astype(np.float32)

    def search(images):
        return generate(model, model.encode(images), "beam(width=2)", max_length=4)

    anyhow = tf.TensorSpec([None, 8, 8, 3])
    graph = tf.function(search, input_signature=[anyhow], autograph=False)
    expected = search(images)
    for count in (1, 3):
        for one, two in zip(expected, graph(images[:count]), strict=True):
            np.testing.assert_allclose(one[:count], two, atol=1e-5)


@pytest.mark.parametrize("spec", ROWS, ids=short)
def test_score_is_log_probability(spec):
    """Beams of width 1 are greedy, and a caption's score is the model's log-probability of it."""
    model, features = model_of(spec), features_of(2)
    greedy = generate(model, features, "greedy", max_length=5)
    narrow = generate(model, features, "beam(width=1)", max_length=5)
    np.testing.assert_array_equal(greedy.ids, narrow.ids)
    best = generate(model, features, "beam(width=3, n_best=2)", max_length=5)
    ids, lengths = best.ids.numpy(), best.lengths.numpy()
    captions = [ids[b, k, : lengths[b, k]].tolist() for b in range(2) for k in range(2)]
    logp = model.word_logp(features, captions, [0, 0, 1, 1])
    np.testing.assert_allclose(best.logp.numpy().ravel(), [words.sum() for words in logp], atol=1e-4)


@pytest.mark.parametrize("name", ["lstm", "top_down"])
def test_overfits_a_toy(name):
    model = build(f"{name}(units=16, embedding=16, value_dim=16, dropout=0.0, attention='additive(units=8)')")
    features, captions, images = features_of(3), [CAPTIONS[i] for i in (0, 1, 3)], [0, 1, 2]
    packed = pack(captions, images, batch=3, group=1)
    model.compile(keras.optimizers.Adam(0.03, global_clipnorm=5.0), CaptionLoss())
    model.optimizer.build(model.trainable_variables)  # else the first step is traced twice
    batch = ({"features": features, **packed.as_inputs()}, packed.targets, packed.weights)
    losses = [float(model.train_on_batch(*batch)) for _ in range(40)]
    assert losses[-1] < 0.1 < losses[0]
    hypotheses = generate(model, features, "greedy", max_length=LENGTH)
    for ids, length, caption in zip(
        hypotheses.ids.numpy()[:, 0], hypotheses.lengths.numpy()[:, 0], captions, strict=True
    ):
        assert ids[:length].tolist() == caption


@pytest.mark.parametrize("spec", ROWS, ids=short)
def test_mixed_precision_keeps_float32_weights(spec):
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        model = build(spec)
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    assert {w.dtype for w in model.decoder.trainable_variables} == {"float32"}
    captions, images, features = CAPTIONS[:2], IMAGES[:2], features_of(3)
    rough = packed_logits(model, features, captions, images, 1)
    for one, two in zip(rough, packed_logits(model_of(spec), features, captions, images, 1), strict=True):
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, two, atol=0.1)


def test_packing_and_back():
    packed = pack(CAPTIONS, IMAGES, batch=3, group=2)
    assert sum(len(step) for step in packed.inputs) == sum(map(len, CAPTIONS)) == packed.weights.sum()
    assert [c.tolist() for c in unpack(packed.targets, packed)] == CAPTIONS
    padded = pack(CAPTIONS, IMAGES, batch=3, group=4, profile=[9, 9, 6, 4, 1, 1, 1, 1])
    assert padded.weights.sum() == packed.weights.sum()
    assert [c.tolist() for c in unpack(padded.targets, padded)] == CAPTIONS
    for wrong in ({"group": 1}, *({"profile": rows} for rows in ([4] * 7, [5, 5, 5], [7] * 7))):
        with pytest.raises(ValueError, match="captions"):
            pack(CAPTIONS, IMAGES, **{"batch": 3, "group": 2, **wrong})


@pytest.mark.parametrize(
    ("spec", "error", "words"),
    [
        ("lsmt", SpecError, "did you mean 'lstm'"),
        ("lstm(unitz=5)", ModelError, "unitz"),
        ("lstm(units=-1)", SpecError, "units expects a whole number from 1 to 16384, got -1"),
        ("lstm(units=10000000000)", SpecError, "units expects a whole number from 1"),
        ("lstm(value_dim='8')", SpecError, "value_dim expects a whole number from 0"),
        ("lstm(dropout=2)", SpecError, "dropout expects a number from 0 to 1"),
        ("lstm(attention='multi_head(units=8, heads=0)')", SpecError, "heads expects"),
        ("lstm(cell='gru')", ModelError, r"write soft_attention\(cell='gru'\)"),
        ("soft_attention(cell='grü')", SpecError, "gru"),
        ("soft_attention(cell='lstm(bogus=1)')", ModelError, "bogus"),
        ("lstm(attention='aditive')", SpecError, "did you mean 'additive'"),
        ("lstm(attention='multi_head(units=9, heads=2)')", ModelError, "divide"),
        ("lstm(units=512", SpecError, "expected a spec"),
    ],
)
def test_a_wrong_decoder_is_one_line(spec, error, words):
    with pytest.raises(CaptionerError, match=words) as caught:
        build(spec)
    assert isinstance(caught.value, error)
    assert "\n" not in str(caught.value)


def test_cells_of_other_widths_fit_every_family():
    for name in ("soft_attention", "adaptive", "top_down", "show_and_tell"):
        model = build(f"{name}({SIZES}, cell='lstm(units=6)')")
        assert model.word_logp(features_of(1), [[5, 2]])[0].shape == (2,)


def test_max_length_and_tokenizer_are_required():
    encoder = model_of(SPECS[0]).encoder
    with pytest.raises(ModelError, match="max_length"):
        CaptionModel(encoder, SPECS[0], TOKENIZER, max_length=1)
    with pytest.raises(ModelError, match="tokenizer"):
        CaptionModel.from_config(model_of(SPECS[0]).get_config())
    assert encoder.channels == CHANNELS
