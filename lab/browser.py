"""ComfyUI's own front end in a headless browser: what an artist clicks and sees, for scripts.

Needs a ComfyUI (lab/comfyui_server.py), Debian's Chromium and Playwright.
"""

import json
import re
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .comfyui_server import CHROMIUM

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# Files of a user folder that do not exist before a user makes them, and a picture of the tab.
NOT_THERE_YET = (
    "/user.css",
    "/api/userdata/user.css",
    "/api/userdata/comfy.templates.json",
    "/api/userdata?dir=workflows",
    "/api/userdata?dir=subgraphs",
    "/favicon.ico",
)
# The front end asks for a help page in its own language first, then for the page.
TRANSLATED_PAGE = re.compile(r"/extensions/mannequin/docs/\w+/en\.md")
BORDER = 40


@contextmanager
def editor(address: str, width: int = 1600, height: int = 1000) -> Iterator["Editor"]:
    """The front end of the server at `address`, loaded and empty."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        try:
            page = browser.new_page(viewport={"width": width, "height": height})
            yield Editor(page, address)
        finally:
            browser.close()


class Editor:
    """The front end in a tab. problems: what its console and its requests complained about."""

    def __init__(self, page: Any, address: str):
        self.page, self.address = page, address
        self.problems: list[str] = []
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.problems.append(f"uncaught: {error}"))
        page.on("response", self._answered)
        page.goto(address)
        page.wait_for_function(
            "window.app?.graph && window.app.extensionManager?.workflow?.activeWorkflow &&"
            " Object.keys(LiteGraph.registered_node_types).length > 100"
        )

    def _said(self, message: Any) -> None:
        if message.type == "error" and not self._allowed(message.location.get("url", "")):
            self.problems.append(f"console: {message.text} ({message.location.get('url')})")

    def _answered(self, response: Any) -> None:
        if response.status >= 400 and not self._allowed(response.url):
            self.problems.append(f"{response.status}: {response.url}")

    def _allowed(self, url: str) -> bool:
        path = url.removeprefix(self.address)
        return path.startswith(NOT_THERE_YET) or TRANSLATED_PAGE.fullmatch(path) is not None

    def js(self, code: str, *argument: Any) -> Any:
        return self.page.evaluate(code, *argument)

    def templates(self) -> list[str]:
        """Opens the template browser at this pack; the names it lists."""
        if not self.page.get_by_test_id("template-workflows-content").count():
            toolbar = self.page.get_by_test_id("side-toolbar")
            toolbar.get_by_role("button", name="Templates").click()
        self.page.get_by_text("mannequin", exact=True).first.click()
        cards = self.page.locator("[data-testid^=template-workflow-]")
        cards.first.wait_for()
        self.page.get_by_text("mannequin", exact=True).nth(1).wait_for()  # the page's heading
        return [
            c.get_attribute("data-testid").removeprefix("template-workflow-") for c in cards.all()
        ]

    def open_template(self, name: str) -> None:
        """Clicks on a workflow in the template browser."""
        self.templates()
        self.page.get_by_test_id(f"template-workflow-{name}").click()
        self.page.get_by_test_id("template-workflows-content").wait_for(state="detached")
        self.page.wait_for_function(
            "name => app.extensionManager.workflow.activeWorkflow.filename.startsWith(name)"
            " && app.graph.nodes.length > 0",
            arg=name,
        )
        self.settled()

    def settled(self) -> None:
        """Waits until every picture that a node shows has come, and the canvas has drawn them."""
        self.page.wait_for_function(
            "() => app.graph.nodes.filter(n => n.type.startsWith('LoadImage'))"
            ".every(n => n.imgs?.length && n.imgs.every(i => i.complete && i.naturalWidth))"
        )
        self.js(
            "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )

    def unknown(self) -> list[str]:
        """Nodes that the front end does not know, or marks as wrong, and its own warnings."""
        found = self.js(
            "() => app.graph.nodes.filter(n => n.has_errors || !(n.type in"
            " LiteGraph.registered_node_types) && !n.isSubgraphNode?.()).map(n => n.title)"
        )
        for sign in ("missing-nodes-warning", "error-overlay"):
            shown = self.page.get_by_test_id(sign)
            found += (
                [shown.first.inner_text()] if shown.count() and shown.first.is_visible() else []
            )
        return found

    def prompt(self) -> dict[str, Any]:
        """The front end's own conversion of the graph to API format."""
        return self.js("async () => (await app.graphToPrompt()).output")

    def run(self, seconds: float = 300) -> dict[str, Any]:
        """Presses Run; the history entry of the finished run."""
        with self.page.expect_response(lambda r: r.url.endswith("/prompt")) as answer:
            self.page.get_by_test_id("queue-button").click()
        if answer.value.status != 200:
            raise RuntimeError(f"ComfyUI refused the workflow: {answer.value.text()}")
        prompt_id = answer.value.json()["prompt_id"]
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.page.wait_for_timeout(200)
            with urllib.request.urlopen(f"{self.address}/history/{prompt_id}") as history:
                entry = json.load(history).get(prompt_id)
            if entry:
                return entry
        raise TimeoutError(f"the workflow was not done after {seconds} s")

    def shown(self, title: str) -> list[list[int]]:
        """The sizes of the pictures that a node shows on the canvas, once they have come."""
        node = f"app.graph.nodes.find(n => n.title === {json.dumps(title)})"
        self.page.wait_for_function(
            f"() => {node}.imgs?.length && {node}.imgs.every(i => i.complete && i.naturalWidth)"
        )
        return self.js(f"() => {node}.imgs.map(i => [i.naturalWidth, i.naturalHeight])")

    def widgets(self, title: str) -> list[str]:
        """The names of the widgets that a node shows."""
        return self.js(
            "title => app.graph.nodes.find(n => n.title === title).widgets.map(w => w.name)", title
        )

    def clear(self) -> None:
        """An empty canvas."""
        self.js("() => app.graph.clear()")

    def add_node(self, kind: str) -> None:
        """Puts a node in the middle of the view and selects it."""
        self.js(
            "kind => { const node = LiteGraph.createNode(kind); app.graph.clear();"
            " app.graph.add(node); app.canvas.ds.scale = 1; app.canvas.centerOnNode(node);"
            " app.canvas.selectNode(node) }",
            kind,
        )

    def help(self) -> Any:
        """Presses the info button of the selected node; the panel with its help page."""
        self.page.get_by_test_id("info-button").first.click()
        panel = self.page.locator(".node-help-content").first
        panel.locator("h1, h2").first.wait_for()
        return panel

    def library(self, search: str) -> list[str]:
        """Opens the node library and searches in it; the names it finds."""
        if not self.page.get_by_placeholder("Search...").count():
            self.page.get_by_role("button", name="Node Library (n)").click()
        self.page.get_by_placeholder("Search...").fill(search)
        found = self.page.get_by_role("treeitem")
        found.filter(has_text=search).first.wait_for()
        self.page.wait_for_timeout(500)
        return [text.strip() for item in found.all() for text in item.inner_text().splitlines()]

    def place(self, name: str) -> None:
        """Takes something from the node library and puts it onto the middle of the canvas."""
        self.library(name)
        self.page.get_by_text(name, exact=True).first.click()
        size = self.page.viewport_size
        self.page.mouse.click(size["width"] * 0.55, size["height"] * 0.5)
        self.page.wait_for_function("() => app.graph.nodes.length > 0")

    def feed(self, target: str, name: str, kind: str, values: dict[str, Any]) -> None:
        """A new node with these widget values, wired into an input of another."""
        self.js(
            "([target, name, kind, values]) => { const to = app.graph.nodes.find("
            "n => n.title === target); const node = LiteGraph.createNode(kind);"
            " node.title = `${kind} for ${name}`; app.graph.add(node);"
            " for (const w of node.widgets) if (w.name in values) w.value = values[w.name];"
            " node.connect(0, to, to.findInputSlot(name)) }",
            [target, name, kind, values],
        )

    def take(self, source: str, name: str, kind: str) -> None:
        """A new node wired to an output of another."""
        self.js(
            "([source, name, kind]) => { const from = app.graph.nodes.find("
            "n => n.title === source); const node = LiteGraph.createNode(kind);"
            " node.title = `${kind} of ${name}`; app.graph.add(node);"
            " from.connect(from.findOutputSlot(name), node, 0) }",
            [source, name, kind],
        )

    def boxes(self) -> dict[str, list[float]]:
        """Left, top, right, bottom of every node with its title bar, as drawn, by title."""
        return self.js(
            "() => Object.fromEntries(app.graph.nodes.map(n => [n.title,"
            " [n.pos[0], n.pos[1] - LiteGraph.NODE_TITLE_HEIGHT,"
            " n.pos[0] + n.size[0], n.pos[1] + n.size[1]]]))"
        )

    def picture(self, path: Path, width: int = 2600, quality: int = 80) -> None:
        """A JPEG of the whole graph without the front end's menus."""
        left, top, right, bottom = self.js(
            "() => [...app.graph.groups, ...app.graph.nodes].map(x => x.boundingRect)"
            ".reduce((a, b) => [Math.min(a[0], b[0]), Math.min(a[1], b[1]),"
            " Math.max(a[2], b[0] + b[2]), Math.max(a[3], b[1] + b[3])], [1e9, 1e9, -1e9, -1e9])"
        )
        scale = (width - 2 * BORDER) / (right - left)
        height = round((bottom - top) * scale) + 2 * BORDER
        self.page.set_viewport_size({"width": width, "height": height})
        self.js("() => { app.extensionManager.focusMode = true }")
        self.page.wait_for_timeout(500)
        offset = [BORDER / scale - left, BORDER / scale - top]
        self.js(
            "([scale, [x, y]]) => { app.canvas.ds.scale = scale; app.canvas.ds.offset[0] = x;"
            " app.canvas.ds.offset[1] = y; app.canvas.setDirty(true, true) }",
            [scale, offset],
        )
        self.page.wait_for_timeout(800)
        self.page.screenshot(path=path, type="jpeg", quality=quality)
