"""The base class of rerankers, for TensorFlow and NumPy."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from captioner.decoding.backend import xp
from captioner.decoding.rules import FORBIDDEN, possible
from captioner.errors import SpecError
from captioner.types import Hypotheses


class Reranker:
    """Base of all rerankers. It holds options only, so one object serves any number of searches.

    Attributes:
        parameters: str, "" unless a subclass says otherwise. The name of the fitted parameters that `score` needs: in
            `CaptionModel.reranker_parameters`, in `captioner.bundle.RERANKER_FILES` and in the name of the program
            that fits them, `training/fit_NAME.py`.
    """

    parameters = ""

    @classmethod
    def load(cls, path: str | os.PathLike[str], vocabulary: str, channels: int) -> Any:
        """Reads fitted parameters, which were written by their method `save(path)`.

        Args:
            path: str or PathLike.
            vocabulary: str. The fingerprint of the model's tokenizer.
            channels: int. C of the model's features.

        Raises:
            BundleError: if the file is damaged, or was fitted for another model.
        """
        raise NotImplementedError

    def find_parameters(self, fitted: Mapping[str, Any]) -> Any:
        """The parameters to call `score` with; None for a reranker without any.

        Args:
            fitted: mapping of names to fitted parameters, as a model has them.

        Raises:
            SpecError: if they are not among those of the model.
        """
        if not self.parameters:
            return None
        if self.parameters not in fitted:
            raise SpecError(
                f"rerank={self.parameters!r} expects a model with parameters fitted for it, got one without, or a "
                f".tflite file, which cannot hold them: run training/fit_{self.parameters}.py on the model folder, "
                "or choose another reranker such as rerank='mbr'"
            )
        return fitted[self.parameters]

    def score(self, hypotheses: Hypotheses, features: Any, parameters: Any) -> Any:
        """The scores that rank the hypotheses.

        Args:
            hypotheses: Hypotheses of N captions an image. Those whose `logp` is not `possible` are empty rows.
            features: float [B, L, C]. Of the images; without channels (C = 0) in a `.tflite` engine.
            parameters: the result of `find_parameters`.

        Returns:
            float32 [B, N]; values at empty rows are ignored.
        """
        raise NotImplementedError

    def rerank(self, hypotheses: Hypotheses, n_best: int, features: Any, parameters: Any) -> Hypotheses:
        """The n best hypotheses of an n-best list by `score`, which replaces theirs.

        Args:
            hypotheses: Hypotheses, K = N.
            n_best: int, at most N.
            features, parameters: see `score`.

        Returns:
            `Hypotheses`, K = `n_best`; empty rows last, their score -1e9.

        Example:
            >>> import numpy as np
            >>> from captioner.decoding.backend import numpy_backend
            >>> class Shortest(Reranker):
            ...     def score(self, hypotheses, features, parameters):
            ...         return -np.float32(hypotheses.lengths)
            >>> ids, logp = np.int32([[[5, 6, 2], [5, 2, 0]]]), np.float32([[-1.0, -2.0]])
            >>> both = Hypotheses(ids, np.int32([[3, 2]]), logp, logp, np.zeros((1, 2, 3)), np.zeros((1, 2, 3, 1)))
            >>> with numpy_backend():
            ...     Shortest().rerank(both, 1, None, None).ids.tolist()
            [[[5, 2, 0]]]
        """
        score = self.score(hypotheses, features, parameters)
        score, order = xp.math.top_k(xp.where(possible(hypotheses.logp), score, FORBIDDEN), n_best)
        best = Hypotheses(*(xp.gather(leaf, order, batch_dims=1) for leaf in hypotheses))
        return best._replace(score=score)
