"""Images and captions of one's own, however few: `own` begins with a trained model, `scratch` with its encoder alone.

What both leave open follows from the number of images and captions (`training/recipes/sizing.py`).
"""

from __future__ import annotations

from dataclasses import replace

from captioner.api import DEFAULT_MODEL
from training.config import CrossEntropy, Data, Evaluation, Model, Run


def own() -> Run:
    """Your own images and words, beginning with the default model; `training/adapt.py` is its short form."""
    return Run(
        name="own",
        data=Data(source="auto(path='photos', validation=0, test=0)", vocabulary="union"),
        model=Model(encoder="", decoder="", init_from=str(DEFAULT_MODEL)),
        xe=CrossEntropy(learning_rate=7e-4, warmup=0.1, final_lr_ratio=0.05, ema_momentum=0.99),
        evaluation=Evaluation(tests=(), final_strategy="beam(width=20, rerank='cider_regression')"),
        sized_by_data=True,
    )


def scratch() -> Run:
    """Your own images and words, beginning with the encoder of the default model and a decoder that knows nothing."""
    run = own()
    sizes = "units=256, value_dim=256, embedding=192"
    decoder = f"gru({sizes}, attention='multi_head', dropout=0.5, word_dropout=0.15, tied=True)"
    return replace(
        run,
        name="scratch",
        data=replace(run.data, vocabulary="captions"),
        model=replace(run.model, decoder=decoder, init_parts="encoder"),
        xe=replace(run.xe, learning_rate=2e-3),
    )
