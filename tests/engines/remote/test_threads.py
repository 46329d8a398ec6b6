"""Engines that ask a server, shared by threads: loaded at once, asked at once, closed while they are asked."""

import threading

import pytest

import captioner
from captioner.engines.remote import messages
from captioner.errors import EngineError
from tests.support.fake_tf_serving import expected

IMAGES = [b"\xff\xd8\xff image %d" % i for i in range(8)]


@pytest.fixture
def source(server):
    return server.source


def at_once(work, count=8):
    """What `work(i)` gives in each of many threads that start together, or raises."""
    results, together = [None] * count, threading.Barrier(count)

    def one(i):
        together.wait(30)
        try:
            results[i] = work(i)
        except Exception as error:
            results[i] = error

    threads = [threading.Thread(target=one, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


def test_message_classes_are_built_once(monkeypatch):
    monkeypatch.setattr(messages, "_built", None)
    assert len({id(classes) for classes in at_once(lambda i: messages.message_classes())}) == 1


def test_threads_that_load_at_once_get_captions(source, monkeypatch):
    monkeypatch.setattr(messages, "_built", None)

    def ask(i):
        with captioner.load(source) as model:
            return model.engine.predict([IMAGES[i]])[0].text

    assert at_once(ask) == [expected(image).text for image in IMAGES]
    assert at_once(ask) == [expected(image).text for image in IMAGES]  # and for good


def test_many_threads_get_the_captions_that_one_gets(source):
    with captioner.load(source, batch_size=2) as model:
        alone = [caption.text for caption in model.engine.predict(IMAGES)]
        for texts in at_once(lambda i: [c.text for c in model.engine.predict(IMAGES[i:] + IMAGES[:i])]):
            assert sorted(texts) == sorted(alone)
        shared = at_once(lambda i: [model.engine.predict([IMAGES[i]])[0].text for _ in range(5)])
    assert shared == [[text] * 5 for text in alone]


def test_close_lets_running_calls_finish(source, world):
    model, running, go_on = captioner.load(source), threading.Event(), threading.Event()
    closed, close = [], model.engine._transport.close
    model.engine._transport.close = lambda: (closed.append(go_on.is_set()), close())

    def hold(outputs):
        running.set()
        assert go_on.wait(30)
        return outputs

    world.always = hold
    answers = []
    caller = threading.Thread(target=lambda: answers.append(model.engine.predict(IMAGES[:1])[0].text))
    caller.start()
    assert running.wait(30)
    model.close()
    with pytest.raises(EngineError, match="it was closed: load it again"):
        model.engine.predict(IMAGES[:1])
    assert closed == []  # not under a request
    go_on.set()
    caller.join(30)
    model.close()
    assert answers == [expected(IMAGES[0]).text] and closed == [True]


def test_close_during_calls(source):
    for _ in range(5):
        model = captioner.load(source)

        def work(i, model=model):
            if i == 7:
                return model.close()
            return model.engine.predict([IMAGES[i]])[0].text

        for i, result in enumerate(at_once(work)[:7]):
            assert result == expected(IMAGES[i]).text or "it was closed" in str(result)
