"""What a run scores when it is finished, with the strategy that the model will have."""

from __future__ import annotations

import logging
from typing import Any

from captioner.decoding import STRATEGIES
from captioner.errors import SpecError
from training.loop.cider_regression import fit_parameters, read_prior

_log = logging.getLogger("captioner.training")


def final_metrics(trainer: Any) -> dict[str, dict[str, float]]:
    """Gives the model its strategy and the parameters that this needs, and scores the test splits, once.

    Args:
        trainer: Trainer, with the weights that were chosen.

    Returns:
        dict of split to metrics; with the validation split if the strategy is not the one it was scored with before.
    """
    evaluation, source = trainer.run.evaluation, trainer.source
    strategy, metrics = evaluation.final_strategy, {}
    try:
        STRATEGIES.build(strategy or evaluation.strategy).check_vocabulary(len(source.tokenizer))
    except SpecError as error:  # more beams than words
        _log.warning("%s: the model has %s instead of %s", error, evaluation.strategy, strategy)
        strategy = ""
    if strategy:
        model, config, data = trainer.model, trainer.run.model, trainer.run.data
        model.strategy = strategy
        adapted = config.init_from and config.init_parts == "all" and not config.train_encoder
        prior = read_prior(config.init_from, model.encoder.channels) if adapted else None
        fit_parameters(model, source, strategy, prior=prior)
        _, scores = trainer.score_split("validation", evaluation.limit, strategy=strategy)
        metrics["validation"] = {**trainer.state["best_metrics"], **scores}
        if (
            data.hold_out
        ):  # now that they chose and were scored, these images are worth more as training images
            fit_parameters(model, source, strategy, ("train", "validation"), prior)
    for split in evaluation.tests:
        captions, metrics[split] = trainer.score_split(split, 0, evaluation.official, strategy)
        exact_match = source.exact_match(captions, split)
        if exact_match is not None:
            metrics[split]["exact match"] = exact_match
        trainer.run_logger.predictions(split, captions, source.examples(split))
    return metrics
