"""Fixtures of the page: its models, its server, and the page in a browser."""

import pytest


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    """The Paths of the folders of `save_models`; they are only read."""
    from tests.support.models.shared_exports import made_once
    from tests.support.serving.page_server import save_models

    folder = made_once(tmp_path_factory, "page", save_models)
    return folder / "tiny", folder / "show_and_tell"


@pytest.fixture(scope="module")
def server(served):
    from tests.support.serving.page_server import PageServer

    folder, without_attention = served
    server = PageServer(folder, [str(without_attention)], body=8 << 20)
    yield server
    server.close()


@pytest.fixture
def open_page(chromium, server):
    """Opens the page; fails at the end if it sent a request to another server, or a script failed."""
    from tests.support.serving.page_browser import HTTP_ERROR, WIDE, expect

    contexts, requests, errors = [], [], []

    def open_page(viewport=WIDE, path="/", wait=True, **options):
        context = chromium.new_context(viewport=viewport, accept_downloads=True, **options)
        context.grant_permissions(["clipboard-read", "clipboard-write", "camera"], origin=server.url)
        context.set_default_timeout(30_000)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: message.type == "error" and errors.append(message.text))
        page.goto(server.url + path)
        if wait:
            expect(page.locator("#model option")).to_have_count(2)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not [url for url in requests if not url.startswith((server.url + "/", "blob:", "data:"))]
    assert not [error for error in errors if HTTP_ERROR not in error]
