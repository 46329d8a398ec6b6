"""Flickr8k, Karpathy split: a recipe for each decoder on a frozen DenseNet169, for devices, in German, and larger ones.

Get the images and `dataset_flickr8k.json` from their authors and put them where `DATA` says, or pass
`--set data.source="flickr(folder='...', captions='...')"`.
"""

from __future__ import annotations

from dataclasses import replace

from training.config import CrossEntropy, Data, Evaluation, Model, Run, SelfCritical

DATA = "flickr(folder='data/flickr8k/images', captions='data/flickr8k/dataset_flickr8k.json')"
GERMAN_DATA = DATA.removesuffix(")") + ", other_captions='data/flickr8k/german.json.gz')"
ENCODER = "densenet169(weights='imagenet')"
LITE0 = "efficientnet_lite0(weights='imagenet')"
SHARED = "embedding=256, dropout=0.3, word_dropout=0.15, tied=True"


def _run(name: str, decoder: str, encoder: str = ENCODER) -> Run:
    return Run(
        name=name,
        data=Data(source=DATA, min_count=5),
        model=Model(encoder=encoder, decoder=decoder, max_length=22),
        xe=CrossEntropy(
            epochs=10,
            min_steps=1000,
            batch_images=32,
            learning_rate=1.5e-3,
            label_smoothing=0.1,
            ema_momentum=0.995,
        ),
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
    """Soft attention with a bidirectional LSTM over the words so far."""
    return _run("flickr8k_bidirectional", f"bidirectional(attention='multi_head', {SHARED})")


def show_and_tell() -> Run:
    """No attention: an LSTM whose first input is the mean feature."""
    return _run("flickr8k_show_and_tell", f"show_and_tell({SHARED})")


def topdown() -> Run:
    """Top-down attention: an attention LSTM and a language LSTM.

    It learns more slowly with word dropout, so it has none.
    """
    return _run(
        "flickr8k_topdown", "top_down(attention='multi_head', deep_output=True, embedding=256, dropout=0.3)"
    )


def _device_decoder(cell: str) -> str:
    sizes = "units=256, value_dim=256, embedding=192"
    return f"{cell}({sizes}, attention='multi_head', dropout=0.3, word_dropout=0.15, tied=True)"


def device() -> Run:
    """Soft attention with an LSTM on EfficientNet-Lite0: 7 MB in 8 bits."""
    return _run("flickr8k_device", _device_decoder("lstm"), LITE0)


def lite0_gru() -> Run:
    """A GRU on EfficientNet-Lite0: four augmentations of each image, cross-entropy, then self-critical training."""
    run = _run("flickr8k_lite0_gru", _device_decoder("gru"), LITE0)
    return replace(
        run,
        data=replace(run.data, cached_augmentations=4),
        xe=replace(run.xe, epochs=14),
        scst=SelfCritical(epochs=8),
    )


def german() -> Run:
    """German captions of 7,391 of the images (Multi30k): the networks of `flickr8k_lite0_gru`, cross-entropy alone."""
    run = lite0_gru()
    return replace(
        run,
        name="flickr8k_german",
        # German inflects: with 5, 5.9 % of its words would be unknown, in English 2.5 %; with 3 it is 4.2 %.
        data=replace(run.data, source=GERMAN_DATA, language="de", min_count=3),
        model=replace(run.model, max_length=24),
        xe=replace(run.xe, epochs=12),
        scst=SelfCritical(),
    )


def default() -> Run:
    """`flickr8k_lite0_gru` with its encoder fine-tuned: the model in saved_models/default."""
    run = _run("flickr8k_default", _device_decoder("gru"), LITE0)
    return replace(
        run,
        data=replace(run.data, augment=True),
        model=replace(run.model, train_encoder=True, init_from="runs/flickr8k_lite0_gru/model"),
        xe=replace(run.xe, epochs=0),
        scst=SelfCritical(epochs=2, learning_rate=1e-5),
        evaluation=replace(run.evaluation, every=1),
    )


def two_encoders() -> Run:
    """Features of two encoders concatenated, four augmentations of each image, cross-entropy, then self-critical."""
    run = _run(
        "flickr8k_two_encoders",
        f"lstm(attention='multi_head', {SHARED})",
        f"concat(encoders={[ENCODER, LITE0]!r})",
    )
    return replace(
        run,
        data=replace(run.data, cached_augmentations=4),
        xe=replace(run.xe, epochs=12),
        scst=SelfCritical(epochs=8),
    )


def two_encoders_288_finetune() -> Run:
    """`flickr8k_two_encoders` continued on images of 288 pixels, with self-critical training alone."""
    run = replace(two_encoders(), name="flickr8k_two_encoders_288_finetune")
    return replace(
        run,
        model=replace(run.model, image_size=288, init_from="runs/flickr8k_two_encoders/model"),
        xe=replace(run.xe, epochs=0),
        scst=SelfCritical(epochs=6, learning_rate=1.5e-4),
    )


def two_encoders_288_batch12() -> Run:
    """Two encoders on images of 288 pixels, the GRU of `flickr8k_lite0_gru`, and few epochs in batches of 12 images."""
    run = replace(lite0_gru(), name="flickr8k_two_encoders_288_batch12")
    return replace(
        run,
        data=replace(run.data, cached_augmentations=1),
        model=replace(run.model, encoder=two_encoders().model.encoder, image_size=288),
        xe=replace(run.xe, epochs=7, batch_images=12),
        scst=SelfCritical(epochs=5, batch_images=12, samples=4, references=1),
    )


def two_encoders_288() -> Run:
    """Two encoders and a GRU on images of 288 pixels, three augmentations of each, in bfloat16."""
    run = replace(two_encoders(), name="flickr8k_two_encoders_288")
    return replace(
        run,
        data=replace(run.data, cached_augmentations=3),
        model=replace(run.model, decoder=gru().model.decoder, image_size=288),
        xe=replace(run.xe, mixed_precision=True),
    )


def lite0_cells() -> Run:
    """`flickr8k_lite0_gru` with narrower attention and half the epochs, for comparing cells."""
    run = replace(lite0_gru(), name="flickr8k_lite0_cells")
    decoder = run.model.decoder.replace("'multi_head'", "'multi_head(units=256, heads=4)'")
    return replace(
        run,
        model=replace(run.model, decoder=decoder),
        xe=replace(run.xe, epochs=6, mixed_precision=True),
        scst=SelfCritical(epochs=5, samples=4, references=1, learning_rate=3e-4),
    )
