"""MS COCO 2014 from tensorflow-datasets, Karpathy split."""

from __future__ import annotations

from training.config import CrossEntropy, Data, Evaluation, Model, Run


def lstm() -> Run:
    """COCO captions with soft attention and an LSTM, which needs 100 GB of disk for the features."""
    return Run(
        name="coco_lstm",
        data=Data(source="coco()", min_count=5),
        model=Model(
            encoder="densenet169(weights='imagenet')",
            decoder="lstm(units=1024, embedding=512, attention='multi_head')",
            max_length=20,
        ),
        xe=CrossEntropy(
            epochs=20, batch_images=64, learning_rate=1e-3, label_smoothing=0.1, ema_momentum=0.999
        ),
        evaluation=Evaluation(limit=5000, official=True),
    )
