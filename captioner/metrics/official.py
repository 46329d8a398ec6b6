"""The reference implementation, coco-caption (package pycocoevalcap), with its output suppressed.

Its scorers are used unchanged. Only its two Java programs are started here instead of by its wrappers: its
PTB tokeniser (Stanford CoreNLP 3.4.1) then needs no temporary file inside the installed package, both read and
write UTF-8 in any locale, nothing is printed, and all processes end with the call.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import subprocess
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from captioner.errors import CaptionerError, EngineError, MissingDependency
from captioner.metrics.base import Candidates, References, Scores, check


class MissingJava(MissingDependency):
    """Java is not installed, which the programs of pycocoevalcap need."""

    def __init__(self, purpose: str):
        CaptionerError.__init__(
            self,
            f"{purpose} needs Java, and no `java` is on the PATH: install a Java runtime (8 or newer), "
            f"for example `apt-get install default-jre-headless`",
        )


def ptb_words(captions: Sequence[str]) -> list[list[str]]:
    """Tokenises captions as coco-caption does: Penn Treebank tokens, lower case, without punctuation.

    Args:
        captions: sequence of str.

    Returns:
        The words of each caption.

    Raises:
        MissingDependency: if pycocoevalcap or Java is missing.
        EngineError: if the tokeniser fails.
    """
    module = _part("tokenizer.ptbtokenizer", "PTB tokenisation")
    java = _java("PTB tokenisation")
    jar = os.path.join(os.path.dirname(module.__file__), module.STANFORD_CORENLP_3_4_1_JAR)
    # One line a caption: other line ends of Java become spaces.
    text = "\n".join(" ".join(caption.split()) for caption in captions) + "\n"
    command = [java, "-cp", jar, "edu.stanford.nlp.process.PTBTokenizer"]
    options = ["-preserveLines", "-lowerCase", "-encoding", "UTF-8"]
    done = subprocess.run(command + options, input=text.encode("utf-8", "replace"), capture_output=True)
    lines = done.stdout.decode("utf-8", "replace").split("\n")[:-1]
    if done.returncode or len(lines) != len(captions):
        reason = (done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no message"])[-1]
        raise EngineError(
            f"the PTB tokeniser gave {len(lines)} lines for {len(captions)} captions (exit code "
            f"{done.returncode}, {reason}): check that `java` runs and has memory"
        )
    dropped = set(module.PUNCTUATIONS)
    return [[word for word in line.split() if word not in dropped] for line in lines]


def meteor_scores(candidates: Candidates, references: References) -> tuple[float, np.ndarray]:
    """METEOR 1.5 of the corpus and of every image, not x100.

    Raises:
        MissingDependency: if pycocoevalcap or Java is missing.
        EngineError: if the program dies.
    """
    module = _part("meteor.meteor", "METEOR")
    java = _java("METEOR")
    options = ["-Xmx2G", "-Dfile.encoding=UTF-8", "-Duser.language=en", "-jar", module.METEOR_JAR]
    # Their wrapper without its constructor: the same program, in a fixed locale, without its stderr.
    scorer = module.Meteor.__new__(module.Meteor)
    scorer.lock = threading.Lock()
    scorer.meteor_p = process = subprocess.Popen(
        [java, *options, "-", "-", "-stdio", "-l", "en", "-norm"],
        cwd=os.path.dirname(module.__file__),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        corpus, per_image = scorer.compute_score(*_as_theirs(candidates, references))
    except (OSError, ValueError) as error:
        raise EngineError(
            f"METEOR stopped before it had scored {len(candidates)} captions ({error}): "
            "check that `java` runs and may use 2 GB of memory"
        ) from None
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):  # unsent input cannot be flushed
                pipe.close()  # type: ignore[union-attr]
        scorer.lock = (
            threading.Lock()
        )  # a failure leaves theirs locked, and their destructor would wait forever
    return corpus, np.array(per_image)


def official_scores(candidates: Candidates, references: References, meteor: bool = True) -> dict[str, Scores]:
    """Scores words with the unchanged scorers of pycocoevalcap.

    Args:
        candidates: sequence of lists of words, [B].
        references: sequence of lists of lists of words, [B].
        meteor: bool, defaults to True. METEOR too; it is the only one that needs Java.

    Returns:
        dict of `Scores` for "bleu", "rouge_l", "cider_d" (their "Cider" is CIDEr-D) and "meteor", with
        scores named as ours.

    Raises:
        MissingDependency: if pycocoevalcap, or Java for METEOR, is missing.
    """
    check(candidates, references)
    theirs = _as_theirs(candidates, references)
    bleu, bleu_per_image = _part("bleu.bleu", "official BLEU").Bleu(4).compute_score(*theirs, verbose=0)
    rouge, rouge_per_image = _part("rouge.rouge", "official ROUGE-L").Rouge().compute_score(*theirs)
    cider, cider_per_image = _part("cider.cider", "official CIDEr-D").Cider().compute_score(*theirs)
    names = [f"BLEU-{k}" for k in range(1, 5)]
    scores = {
        "bleu": _hundred(names, bleu, bleu_per_image),
        "rouge_l": _hundred(["ROUGE-L"], [rouge], [rouge_per_image]),
        "cider_d": _hundred(["CIDEr-D"], [cider], [cider_per_image]),
    }
    if meteor:
        value, per_image = meteor_scores(candidates, references)
        scores["meteor"] = _hundred(["METEOR"], [value], [per_image])
    return scores


def _hundred(names: Sequence[str], scores: Sequence[float], per_image: Sequence[Any]) -> Scores:
    return Scores(
        {name: 100 * float(score) for name, score in zip(names, scores, strict=True)},
        {name: 100 * np.asarray(values) for name, values in zip(names, per_image, strict=True)},
    )


def _as_theirs(candidates: Candidates, references: References) -> tuple[dict, dict]:
    """References and candidates as the dicts of lists of sentences that `compute_score(gts, res)` takes."""
    reference_texts = {i: [" ".join(words) for words in captions] for i, captions in enumerate(references)}
    return reference_texts, {i: [" ".join(words)] for i, words in enumerate(candidates)}


def _part(name: str, purpose: str) -> Any:
    try:
        return importlib.import_module(f"pycocoevalcap.{name}")
    except ImportError:
        raise MissingDependency("pycocoevalcap", "official", purpose) from None


def _java(purpose: str) -> str:
    executable = shutil.which("java")
    if executable is None:
        raise MissingJava(purpose)
    return executable
