"""A ComfyUI server in this process that loses connections wherever a test tells it to.

It queues, runs, interrupts and remembers jobs as ComfyUI's API shows it; its nodes paint greys.
"""

import email
import io
import json
import threading
import time
from base64 import b64encode
from collections import defaultdict
from contextlib import suppress
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from websockets.frames import Frame, Opcode

PICTURE = {"image_upload": True}
OBJECT_INFO = {
    "LoadImage": {
        "input": {"required": {"image": [["there.png"], PICTURE]}},
        "output": ["IMAGE", "MASK"],
    },
    "Grey": {
        "input": {
            "required": {
                "seed": ["INT", {"min": 0, "max": 255}],
                "size": ["COMBO", {"options": ["small", "large"]}],
            },
            "optional": {"gain": ["FLOAT", {}], "images": ["COMFY_AUTOGROW_V3", {}]},
        },
        "output": ["IMAGE"],
    },
    "Tint": {
        "input": {"required": {"image": ["IMAGE"], "noise_seed": ["INT", {"min": 0}]}},
        "output": ["IMAGE"],
    },
    "SaveImage": {
        "input": {"required": {"images": ["IMAGE"], "filename_prefix": ["STRING", {}]}},
        "output": [],
        "output_node": True,
    },
    "PreviewImage": {"input": {"required": {"images": ["IMAGE"]}}, "output_node": True},
}


class FakeComfyUI:
    """faults: {"POST /prompt": ["before", "after", ...]}, one for each request, used up in order:
    before = dropped unheard, after = done but not answered, cut = half an answer, late = dropped,
    done `late_by` seconds later, 502 / 502 after = a proxy's answer instead, none = answered.
    """

    def __init__(self):
        self.faults = defaultdict(list)
        self.chance = lambda request: "none"
        self.late_by, self.step_seconds, self.steps = 0.05, 0.0, 2
        self.keeps_prompt_id = True
        self.files, self.inputs = {}, {"there.png": b"there"}
        self.pending, self.running, self.history = [], [], {}
        self.queued, self.ran, self.requests, self.logins = [], [], [], []
        self.interrupted = set()
        self.sockets, self.connections = {}, []
        self.messages_before_drop = None
        self.lock = threading.RLock()
        self.stalled, self.held, self.closing = (threading.Event() for _ in range(3))
        self.port = 0
        self.listen()
        threading.Thread(target=self.work, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def listen(self):
        handler = type("Bound", (Handler,), {"fake": self})
        self.http = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self.http.daemon_threads = True
        self.port = self.http.server_port
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def vanish(self, seconds):
        """Refuse connections for a while, as a server that is started again does."""
        self.http.shutdown()
        self.http.server_close()
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(2)
        threading.Timer(seconds, self.listen).start()

    def close(self):
        self.closing.set()
        self.http.shutdown()
        self.http.server_close()

    def put(self, prompt, token="somebody", extra=None):
        """Queue a job, ours or somebody else's; returns its id."""
        with self.lock:
            prompt_id = token if self.keeps_prompt_id else f"server-{len(self.queued)}"
            self.queued.append(token)
            item = [len(self.queued), prompt_id, prompt, {"client_id": token, **(extra or {})}, []]
            self.pending.append(item)
            return prompt_id

    def tell(self, token, kind, **data):
        frame = Frame(Opcode.TEXT, json.dumps({"type": kind, "data": data}).encode())
        with self.lock:
            socket = self.sockets.get(token)
            if self.messages_before_drop == 0:
                self.messages_before_drop = None
                self.sockets.pop(token, None)
                return socket and socket.shutdown(2)
            if self.messages_before_drop:
                self.messages_before_drop -= 1
        try:
            return socket and socket.sendall(frame.serialize(mask=False))
        except OSError:
            return None

    def work(self):
        while not self.closing.wait(0.002):
            with self.lock:
                if not self.pending or self.stalled.is_set():
                    continue
                item = self.pending.pop(0)
                self.running.append(item)
            outputs, messages = self.execute(item)
            with self.lock:
                status = {"status_str": messages[-1][0], "messages": messages}
                self.running.remove(item)
                self.history[item[1]] = {"prompt": item, "outputs": outputs, "status": status}
            self.tell(item[3]["client_id"], "executing", node=None, prompt_id=item[1])

    def execute(self, item):
        _, prompt_id, prompt, extra, _ = item
        token, outputs = extra["client_id"], {}
        self.ran.append(token)
        self.tell(token, "execution_start", prompt_id=prompt_id)
        self.tell(token, "execution_cached", prompt_id=prompt_id, nodes=[])
        for key, node in prompt.items():
            about = {"prompt_id": prompt_id, "node": key, "display_node": key}
            self.tell(token, "executing", **about)
            for step in range(self.steps):
                time.sleep(self.step_seconds)
                while self.held.is_set() and prompt_id not in self.interrupted:
                    time.sleep(0.005)
                self.tell(token, "progress", value=step + 1, max=self.steps, **about)
                if prompt_id in self.interrupted:
                    end = ("execution_interrupted", {"prompt_id": prompt_id, "node_id": key})
                    self.tell(token, end[0], **end[1])
                    return outputs, [end]
            if node["inputs"].get("seed") == 13:
                end = {"prompt_id": prompt_id, "node_id": key, "node_type": node["class_type"]}
                end |= {"exception_message": "expected luck\n", "exception_type": "ValueError"}
                end |= {"traceback": ["  File nodes.py\n"]}
                self.tell(token, "execution_error", **end)
                return outputs, [("execution_error", end)]
            if OBJECT_INFO[node["class_type"]].get("output_node"):
                outputs[key] = {"images": [self.save(prompt, node)], "animated": [False]}
        self.tell(token, "execution_success", prompt_id=prompt_id)
        return outputs, [("execution_success", {"prompt_id": prompt_id})]

    def save(self, prompt, node):
        source = prompt[node["inputs"]["images"][0]]
        grey = source["inputs"].get("seed", 0)
        info, encoded = PngInfo(), io.BytesIO()
        info.add_text("prompt", json.dumps(prompt))
        Image.new("RGB", (8, 8), (grey, grey, grey)).save(encoded, "PNG", pnginfo=info)
        kind = "output" if node["class_type"] == "SaveImage" else "temp"
        prefix = node["inputs"].get("filename_prefix", "ComfyUI_temp_abcde")
        subfolder, _, stem = prefix.rpartition("/")
        entry = {"filename": f"{stem}_{len(self.files) + 71:05}_.png", "subfolder": subfolder}
        self.files[entry["filename"], subfolder, kind] = encoded.getvalue()
        return {**entry, "type": kind}

    # ---- what the API answers: (status, JSON or bytes)

    def answer(self, request, path, query, body, headers):
        if request == "GET /system_stats":
            return 200, {"system": {"comfyui_version": "fake"}, "devices": []}
        if request == "GET /object_info":
            return 200, OBJECT_INFO
        if request == "GET /queue":
            with self.lock:
                return 200, {"queue_running": self.running, "queue_pending": self.pending}
        if path.startswith("/history"):
            wanted = path.removeprefix("/history").strip("/")
            return 200, {k: v for k, v in self.history.items() if wanted in ("", k)}
        if request == "GET /view":
            file = self.files.get((query["filename"], query.get("subfolder", ""), query["type"]))
            return (200, file) if file else (404, {})
        if request == "POST /upload/image":
            return 200, self.upload(body, headers)
        data = json.loads(body)
        if request == "POST /prompt":
            return self.prompt(data)
        with self.lock:
            if request == "POST /queue":
                for wanted in data["delete"]:
                    found = [item for item in self.pending if item[1] == wanted]
                    self.pending = [i for i in self.pending if not found or i is not found[0]]
            if request == "POST /interrupt":
                self.interrupted |= {i[1] for i in self.running if i[1] == data["prompt_id"]}
        return 200, {}

    def prompt(self, data):
        errors = {}
        for key, node in data["prompt"].items():
            seed = node["inputs"].get("seed", 0)
            if seed < 0:
                info = {"input_name": "seed", "received_value": seed}
                info["input_config"] = ["INT", {"min": 0}]
                kind = {"type": "value_smaller_than_min", "message": "Value smaller than min"}
                found = [{**kind, "details": "seed", "extra_info": info}]
                errors[key] = {"class_type": node["class_type"], "errors": found}
        if errors and data["prompt"].get("healthy") is None:
            return 400, {"error": {"message": "Prompt failed validation"}, "node_errors": errors}
        prompt_id = self.put(data["prompt"], data["client_id"], data.get("extra_data"))
        return 200, {"prompt_id": prompt_id, "number": 1, "node_errors": errors}

    def upload(self, body, headers):
        head = f"Content-Type: {headers['Content-Type']}\n\n".encode()
        (part,) = email.message_from_bytes(head + body).get_payload()
        content, name = part.get_payload(decode=True), part.get_filename()
        stem, _, ending = name.rpartition(".")
        number = 0
        while self.inputs.get(name, content) != content:
            number += 1
            name = f"{stem} ({number}).{ending}"
        self.inputs[name] = content
        return {"name": name, "subfolder": "", "type": "input"}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: FakeComfyUI

    def setup(self):
        super().setup()
        self.fake.connections.append(self.connection)

    def log_message(self, *unused):
        pass

    def do_GET(self):
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = f"{self.command} {url.path}"
        self.fake.requests.append(request)
        self.fake.logins.append(self.headers["Authorization"])
        faults = self.fake.faults[request]
        fault = faults.pop(0) if faults else self.fake.chance(request)
        if url.path == "/ws":
            return self.drop() if fault == "before" else self.websocket(query["clientId"])
        if fault in ("before", "late", "502"):
            if fault == "late":
                details = (request, url.path, query, body, self.headers)
                threading.Timer(self.fake.late_by, self.fake.answer, details).start()
            return self.reply(502, b"Bad Gateway") if fault == "502" else self.drop()
        status, data = self.fake.answer(request, url.path, query, body, self.headers)
        if fault == "after":
            return self.drop()
        content = data if isinstance(data, bytes) else json.dumps(data).encode()
        if fault == "502 after":
            return self.reply(502, b"Bad Gateway")
        return self.reply(status, content, cut=fault == "cut")

    do_POST = do_GET  # noqa: N815

    def reply(self, status, content, cut=False):
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self.drop()

    def drop(self):
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(2)

    def websocket(self, token):
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", b64encode(sha1(key.encode()).digest()).decode())
        self.end_headers()
        with self.fake.lock:
            self.fake.sockets[token] = self.connection
        self.fake.tell(token, "status", status={})
        self.close_connection = True
        with suppress(OSError):
            while (sent := self.connection.recv(1024)) and sent[0] & 15 != Opcode.CLOSE:
                pass
