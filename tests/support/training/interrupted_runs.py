"""Short runs that tests stop: their settings and what they wrote."""

import csv

# 8 images of 6 captions are 16 groups of 3, 4 steps an epoch; 10 steps in all. Everything that has a state is on:
# dropout, the average of weights, the schedule, and the encoder's statistics where it is trained.
CHANGES = [
    "data.source=synthetic_scenes(train=8, validation=3, test=3, test_unseen=2, size=32)",
    "data.max_vocabulary=20",
    "data.captions_per_image=3",
    "model.encoder=small_cnn(width=4, stages=1)",
    "model.decoder=lstm(units=8, embedding=8, value_dim=8, attention='additive(units=8)', dropout=0.4)",
    "model.image_size=32",
    "model.max_length=4",
    "model.train_encoder=false",
    "xe.epochs=3",
    "xe.batch_images=4",
    "xe.ema_momentum=0.9",
    "xe.warmup=0.3",
    "xe.weight_decay=0.01",
    "xe.label_smoothing=0.1",
    "evaluation.strategy=greedy",
    "evaluation.every=1",
    "evaluation.choose_by=cider",
    "checkpoint_minutes=60",
]


class Crash(BaseException):
    """Ends a run as a power cut does: nothing gets to tidy up after it."""


def history(out):
    with (out / "history.csv").open(newline="") as handle:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(handle)]
