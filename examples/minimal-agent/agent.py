#!/usr/bin/env python3
"""An EasyEnclave agent in plain Python: the seed's JSON messages and nothing else.

It serves one app on sandbox-1 with quotes of a simulated machine (`easyenclave dev`). The protocol
is described in docs/protocol.md; every step here names its section.
"""
import base64, hashlib, http.client, json, os, random, socket, ssl, struct, time
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

CONTROL = os.environ.get("EE_CONTROL_WS", "ws://127.0.0.1:8088/v1/tunnel")
BACKEND = urlsplit(os.environ.get("EE_BACKEND_URL", "http://127.0.0.1:8080"))
QUOTE_URL = os.environ.get("QUOTE_URL", "http://127.0.0.1:8089/quote")
REPO = os.environ.get("EE_REPO", "easyenclave/hello")
TAG = os.environ.get("EE_RELEASE_TAG", "v0.1.0")
APP = os.environ.get("EE_APP_NAME", "python")
NETWORK = os.environ.get("EE_NETWORK", "sandbox-1")
AGENT = os.environ.get("EE_AGENT_ID", "minimal-agent")
HEARTBEAT_S = 20


class WebSocket:
    """The client's side of RFC 6455, as far as one text conversation needs it."""

    def __init__(self, address):
        url, key = urlsplit(address), base64.b64encode(os.urandom(16)).decode()
        secure = url.scheme == "wss"
        self.sock = socket.create_connection((url.hostname, url.port or (443 if secure else 80)), HEARTBEAT_S)
        if secure:
            self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=url.hostname)
        self.buffer, self.parts = bytearray(), b""
        self.sock.sendall(f"GET {url.path or '/'} HTTP/1.1\r\nHost: {url.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                          f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode())
        while b"\r\n\r\n" not in self.buffer:
            self._read()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        accept = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        if not head.startswith(b"HTTP/1.1 101 ") or base64.b64encode(accept) not in head:
            raise ConnectionError(head.decode("latin-1").splitlines()[0])

    def _read(self):
        data = self.sock.recv(65536)
        if not data:
            raise ConnectionError("the control plane is gone")
        self.buffer += data

    def _frame(self):
        while True:
            size, at = self.buffer[1] & 127 if len(self.buffer) > 1 else 0, 2
            if size > 125:
                at = 4 if size == 126 else 10
                size = int.from_bytes(self.buffer[2:at], "big")
            if len(self.buffer) >= max(at, 2) and len(self.buffer) >= at + size:
                first, payload = self.buffer[0], bytes(self.buffer[at:at + size])
                del self.buffer[:at + size]
                return first & 128, first & 15, payload
            self._read()

    def receive(self):
        """The next message; TimeoutError if none comes for a while, and then nothing is lost."""
        while True:
            final, kind, payload = self._frame()
            if kind == 9:
                self._send(10, payload)
            elif kind == 8:
                raise ConnectionError(f"closed: {int.from_bytes(payload[:2], 'big')} {payload[2:].decode()}")
            elif kind in (0, 1):
                self.parts += payload
                if final:
                    text, self.parts = self.parts, b""
                    return json.loads(text)

    def send(self, message):
        self._send(1, json.dumps(message).encode())

    def _send(self, kind, payload):
        size, mask = len(payload), os.urandom(4)
        length = bytes([128 | size]) if size < 126 else struct.pack(">BH", 254, size) if size < 65536 else struct.pack(">BQ", 255, size)
        pattern = (mask * (size // 4 + 1))[:size]
        masked = (int.from_bytes(payload, "big") ^ int.from_bytes(pattern, "big")).to_bytes(size, "big")
        self.sock.sendall(bytes([128 | kind]) + length + mask + masked)


def quote(report_data):
    """What this TD says about itself, signed: on real hardware, configfs-tsm in place of HTTP."""
    body = json.dumps({"report_data": report_data.hex()}).encode()
    with urlopen(Request(QUOTE_URL, body, {"Content-Type": "application/json"}), timeout=HEARTBEAT_S) as answer:
        return json.load(answer)


def report_data(measurements, challenge):
    """64 bytes: what runs here, then what was asked (section 4)."""
    workload = "agent_dir={}\nagent_py={}\nvm_image_id={}\nsealed={}".format(
        *(measurements.get(name, "") for name in ("agent_dir_sha256", "agent_py_sha256", "vm_image_id")),
        "true" if measurements.get("sealed") else "false")
    fields = ["agent", bytes.fromhex(challenge["nonce"]), challenge["reason"], NETWORK, REPO, TAG, APP, AGENT, AGENT, "none", "", "", ""]
    fields = [field.encode() if isinstance(field, str) else field for field in fields]
    bound = b"EasyEnclave attest v2\0" + b"".join(struct.pack(">H", len(field)) + field for field in fields)
    return hashlib.sha256(workload.encode()).digest() + hashlib.sha256(bound).digest()


def backend_answer(request):
    """Asks the app (section 6). The path goes behind the backend's address as it is, never through a URL parser."""
    answer = {"type": "proxy_response", "request_id": request["request_id"]}
    try:
        backend = http.client.HTTPConnection(BACKEND.hostname, BACKEND.port or 80, timeout=14)
        backend.request(request["method"], request["path"], base64.b64decode(request["body_b64"]) or None, request["headers"])
        response = backend.getresponse()
        headers = {name: ", ".join(response.headers.get_all(name)) for name in response.headers}
        return {**answer, "status": response.status, "headers": headers, "body_b64": base64.b64encode(response.read()).decode()}
    except (OSError, http.client.HTTPException) as error:
        return {**answer, "status": 502, "headers": {}, "body_b64": base64.b64encode(str(error).encode()).decode()}


def session():
    measurements = quote(bytes(64))["measurements"]
    tunnel, attested, beaten = WebSocket(CONTROL), False, 0.0
    tunnel.send({"type": "register", "repo": REPO, "release_tag": TAG, "app_name": APP, "network": NETWORK, "agent_id": AGENT})
    while True:
        if attested and time.monotonic() - beaten >= HEARTBEAT_S:
            tunnel.send({"type": "health", "status": "pass"})
            beaten = time.monotonic()
        try:
            message = tunnel.receive()
        except TimeoutError:
            continue
        if message["type"] == "attest_request":
            evidence = quote(report_data(measurements, message))
            tunnel.send({"type": "attest_response", "nonce": message["nonce"], **evidence})
        elif message["type"] == "proxy_request":
            tunnel.send(backend_answer(message))
        elif message["type"] == "status":
            print(message["state"], message["reason"], *(row.get("hint", "") for row in message.get("detail", [])), flush=True)
            attested = attested or message["state"] == "ok"


if __name__ == "__main__":
    wait = 1
    while True:
        started = time.monotonic()
        try:
            session()
        except (OSError, ValueError) as error:
            print("reconnecting:", error, flush=True)
        wait = 1 if time.monotonic() - started > 60 else min(2 * wait, 60)
        time.sleep(random.uniform(0, wait))
