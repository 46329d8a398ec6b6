"""Settings of a run of one epoch on a few drawn images."""

SOURCE = "synthetic_scenes(train=6, validation=3, test=5, test_unseen=2, size=32)"
CHANGES = [
    f"data.source={SOURCE}",
    "data.max_vocabulary=20",
    "model.encoder=small_cnn(width=4, stages=1)",
    "model.decoder=lstm(units=8, embedding=8, value_dim=8, attention='additive(units=8)', dropout=0.1)",
    "model.image_size=32",
    "model.max_length=4",
    "model.train_encoder=false",
    "xe.epochs=1",
    "xe.batch_images=4",
    "xe.ema_momentum=0.9",
    "evaluation.strategy=greedy",
    "evaluation.tests=test",
]
