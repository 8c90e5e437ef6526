"""The address given to `--server`: wrong ones are named at once, logins are used and not shown."""

import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

pytest.importorskip("httpx2")


@pytest.fixture
def workflow(tmp_path):
    grey = {"class_type": "Grey", "inputs": {"seed": 1, "size": "small"}}
    save = {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "a"}}
    (tmp_path / "w.json").write_text(json.dumps({"2": grey, "3": save}))
    return tmp_path / "w.json"


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("http://127.0.0.1:9", "expected a ComfyUI server; came no answer ("),
        ("ftp://host", "expected an http or https address; came 'ftp://host'"),
        ("http://", "expected an http or https address"),
        ("http://host:port", "expected an http or https address"),
    ],
)
def test_a_wrong_address_is_named_at_once(on_fake, workflow, address, says):
    for command in ("run", "validate"):
        done = on_fake(command, workflow, server=address)
        assert done.exit_code == 2
        assert says in done.stderr


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (200, "came HTTP 200 with text/html to /system_stats. Start ComfyUI there"),
        (404, "came HTTP 404 with text/html"),
        (401, "a demand for a login to /system_stats. Give a login in the address"),
    ],
)
def test_another_kind_of_server_is_recognised(on_fake, workflow, status, says):
    class Other(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"[]<html>")

        def log_message(self, *unused):
            pass

    with HTTPServer(("127.0.0.1", 0), Other) as other:
        Thread(target=other.serve_forever, args=(0.01,), daemon=True).start()
        done = on_fake("run", workflow, server=f"127.0.0.1:{other.server_port}")
        other.shutdown()
    assert done.exit_code == 2
    assert says in done.stderr


def test_a_login_in_the_address_is_used_everywhere_and_shown_nowhere(on_fake, workflow, fake):
    address = fake.url.replace("//", "//me:s%20cret@")
    done = on_fake("run", workflow, "--set", "2.seed=-1", server=address)
    assert done.exit_code == 2
    assert on_fake("run", workflow, server=address).exit_code == 0
    assert set(fake.logins) == {"Basic bWU6cyBjcmV0"}
    assert "cret" not in done.stderr
