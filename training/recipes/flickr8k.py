"""Flickr8k, Karpathy split: one recipe a decoder on a frozen DenseNet169, one sized for devices, and the best of all.

Get the images and `dataset_flickr8k.json` from their authors and put them where `DATA` says, or pass
`--set data.source="flickr(folder='...', captions='...')"`.
"""

from __future__ import annotations

from dataclasses import replace

from training.config import CrossEntropy, Data, Evaluation, Model, Run, SelfCritical

DATA = "flickr(folder='data/flickr8k/images', captions='data/flickr8k/dataset_flickr8k.json')"
ENCODER = "densenet169(weights='imagenet')"
# Keras has no weights of it to download.
SMALL_ENCODER = "efficientnet_lite0(weights='data/efficientnet_lite0_notop.weights.h5')"
SHARED = "embedding=256, dropout=0.3, word_dropout=0.15, tied=True"


def _run(name: str, decoder: str, encoder: str = ENCODER) -> Run:
    return Run(
        name=name,
        data=Data(source=DATA, min_count=5),
        model=Model(encoder=encoder, decoder=decoder, max_length=22),
        xe=CrossEntropy(epochs=10, batch_images=32, learning_rate=1.5e-3, label_smoothing=0.1, ema=0.995),
        evaluation=Evaluation(every=2, official=True),
    )


def lstm() -> Run:
    """Soft attention with an LSTM."""
    return _run("flickr8k_lstm", f"lstm(attention='multi_head', {SHARED})")


def gru() -> Run:
    """Soft attention with a GRU."""
    return _run("flickr8k_gru", f"gru(attention='multi_head', {SHARED})")


def simple_rnn() -> Run:
    """Soft attention with a simple RNN."""
    return _run("flickr8k_simple_rnn", f"simple_rnn(attention='multi_head', {SHARED})")


def bidirectional() -> Run:
    """Soft attention with an LSTM that re-reads the words so far in both directions."""
    return _run("flickr8k_bidirectional", f"bidirectional(attention='multi_head', {SHARED})")


def show_and_tell() -> Run:
    """No attention: an LSTM that sees the mean feature once."""
    return _run("flickr8k_show_and_tell", f"show_and_tell({SHARED})")


def topdown() -> Run:
    """Top-down attention: one LSTM looks, another speaks.

    It learns more slowly than the others when words are hidden from it, so none are.
    """
    return _run(
        "flickr8k_topdown", "top_down(attention='multi_head', deep_output=True, embedding=256, dropout=0.3)"
    )


def _device_decoder(cell: str) -> str:
    sizes = "units=256, value_dim=256, embedding=192"
    return f"{cell}({sizes}, attention='multi_head', dropout=0.3, word_dropout=0.15, tied=True)"


def device() -> Run:
    """Soft attention with an LSTM on EfficientNet-Lite0: 7 MB as a whole captioner in 8 bits."""
    return _run("flickr8k_device", _device_decoder("lstm"), SMALL_ENCODER)


def small() -> Run:
    """As small, a GRU: five views of each image, cross-entropy and then self-critical training."""
    run = _run("flickr8k_small", _device_decoder("gru"), SMALL_ENCODER)
    return replace(
        run, data=replace(run.data, views=4), xe=replace(run.xe, epochs=14), scst=SelfCritical(epochs=8)
    )


def default() -> Run:
    """The small one, its encoder trained along too: the model in saved_models/default."""
    run = _run("flickr8k_default", _device_decoder("gru"), SMALL_ENCODER)
    return replace(
        run,
        data=replace(run.data, augment=True),
        model=replace(run.model, train_encoder=True, start="runs/flickr8k_small/model"),
        xe=replace(run.xe, epochs=0),
        scst=SelfCritical(epochs=2, learning_rate=1e-5),
        evaluation=replace(run.evaluation, every=1),
    )


def best() -> Run:
    """Two encoders side by side, five views of each image, cross-entropy and then self-critical training."""
    run = _run(
        "flickr8k_best",
        f"lstm(attention='multi_head', {SHARED})",
        f"concat(encoders={[ENCODER, SMALL_ENCODER]!r})",
    )
    return replace(
        run, data=replace(run.data, views=4), xe=replace(run.xe, epochs=12), scst=SelfCritical(epochs=8)
    )


def fine() -> Run:
    """The best one, further on larger images, whose grid is finer; self-critical from the first step."""
    run = replace(best(), name="flickr8k_fine", xe=replace(best().xe, epochs=0))
    return replace(
        run,
        model=replace(run.model, image_size=288, start="runs/flickr8k_best/model"),
        scst=SelfCritical(epochs=6, learning_rate=1.5e-4),
    )


def brisk() -> Run:
    """What the finest one sees and the decoder of the small one, in steps of 12 images, each step a lesson."""
    run = replace(small(), name="flickr8k_brisk")
    return replace(
        run,
        data=replace(run.data, views=1),
        model=replace(run.model, encoder=best().model.encoder, image_size=288),
        xe=replace(run.xe, epochs=7, batch_images=12),
        scst=SelfCritical(epochs=5, batch_images=12, samples=4, references=1),
    )


def sharp() -> Run:
    """The best one with a GRU, on images of 288 pixels from the first step, in four views, in bfloat16."""
    run = replace(best(), name="flickr8k_sharp")
    return replace(
        run,
        data=replace(run.data, views=3),
        model=replace(run.model, decoder=gru().model.decoder, image_size=288),
        xe=replace(run.xe, mixed_precision=True),
    )


def compact() -> Run:
    """The small one with narrower attention and half the epochs: cells to compare."""
    run = replace(small(), name="flickr8k_compact")
    decoder = run.model.decoder.replace("'multi_head'", "'multi_head(units=256, heads=4)'")
    return replace(
        run,
        model=replace(run.model, decoder=decoder),
        xe=replace(run.xe, epochs=6, mixed_precision=True),
        scst=SelfCritical(epochs=5, samples=4, references=1, learning_rate=3e-4),
    )
