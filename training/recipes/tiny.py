"""Drawn images, a small CNN trained from scratch: two minutes on two cores, offline."""

from __future__ import annotations

from training.config import CrossEntropy, Data, Evaluation, Model, Run


def tiny() -> Run:
    """Synthetic scenes of coloured shapes: counts, sizes and positions."""
    return Run(
        name="tiny",
        data=Data(source="synthetic_scenes()", min_count=1, captions_per_image=6),
        model=Model(
            encoder="small_cnn(width=32)",
            decoder="lstm(units=128, embedding=64, value_dim=128, attention='scaled_dot(units=64)', dropout=0.1)",
            image_size=64,
            max_length=20,
            train_encoder=True,
            freeze_batch_norm=False,
        ),
        xe=CrossEntropy(
            epochs=9,
            batch_images=64,
            learning_rate=3e-3,
            label_smoothing=0.0,
            ema_momentum=0.0,
            warmup=0.1,
            global_clipnorm=1.0,
        ),
        evaluation=Evaluation(every=3, limit=300, tests=("test", "test_unseen")),
    )
