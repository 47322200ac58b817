"""The demo's little shop: /public and /admin, and one handler that is injectable ON PURPOSE (`/public/price`)."""

import json
import os
import subprocess
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

STOCK = {"anchor": 3, "rope": 40, "sail": 2}
SECRET = os.environ.get("SHOP_TOKEN", "")
KEPT = [bytearray(SECRET.encode() * 3)]


class Shop(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        if url.path == "/public":
            self.answer(200, {"shop": "open", "stock": STOCK})
        elif url.path == "/public/price":
            # The hole: whatever is asked for is evaluated.
            try:
                self.answer(200, {"price": str(eval(query["formula"][0]))})  # noqa: S307
            except Exception as error:  # noqa: BLE001
                self.answer(400, {"error": str(error)})
        elif url.path == "/admin":
            allowed = bool(SECRET) and self.headers.get("Authorization") == f"Bearer {SECRET}"
            self.answer(200 if allowed else 403, {"admin": allowed})
        else:
            self.answer(404, {"error": "no such page"})

    def answer(self, status: int, body: dict) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: object) -> None:
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 9000), Shop)
    subprocess.Popen(["/usr/sbin/nginx", "-e", "stderr", "-c", "/opt/shop/nginx.conf"])
    server.serve_forever()
