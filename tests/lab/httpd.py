#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""LAN web server of the lab: /peer answers with the address it sees, /blob with a file,
/slow with an endless trickle (for cutting an established download). IPv4 and IPv6.

usage: httpd.py PORT BLOB
"""

import http.server
import shutil
import socket
import sys
import time


class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
    daemon_threads = True

    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/peer":
            self.answer_text(self.client_address[0].removeprefix("::ffff:") + "\n")
        elif self.path == "/blob":
            self.answer_file(sys.argv[2])
        elif self.path == "/slow":
            self.answer_trickle()
        else:
            self.send_error(404)

    def answer_text(self, text):
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def answer_file(self, path):
        with open(path, "rb") as f:
            size = f.seek(0, 2)
            f.seek(0)
            self.send_response(200)
            self.send_header("Content-Length", str(size))
            self.end_headers()
            shutil.copyfileobj(f, self.wfile, 1 << 20)

    def answer_trickle(self):
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        for _ in range(9000):  # bounded: three minutes
            self.wfile.write(b"x" * 1000)
            time.sleep(0.02)

    def log_message(self, *args):
        pass


Server(("::", int(sys.argv[1])), Handler).serve_forever()
