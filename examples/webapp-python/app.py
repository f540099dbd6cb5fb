"""A web application of one page; `--once` serves a single request to itself and ends."""

import http.server
import os
import sys
import threading
import urllib.request


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"hello from a container\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def main():
    port = int(os.environ.get("PORT", "8000"))
    server = http.server.HTTPServer(("0.0.0.0", port), Page)
    if "--once" in sys.argv:
        threading.Thread(target=server.handle_request).start()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
            print(answer.read().decode(), end="")
        return
    print(f"serving on port {port}", flush=True)
    server.serve_forever()


main()
