"""Takes reports by PUT, with the right token only, and keeps each under the name it was put at."""

import http.server
import pathlib


class Handler(http.server.BaseHTTPRequestHandler):
    """Writes what is put."""

    def do_PUT(self):
        """Keep the body."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        allowed = self.headers.get("Authorization") == "Bearer molecule"
        if allowed:
            pathlib.Path("/var/tmp/reports", pathlib.Path(self.path).name).write_bytes(body)
        self.send_response(204 if allowed else 403)
        self.end_headers()


http.server.HTTPServer(("127.0.0.1", 8099), Handler).serve_forever()
