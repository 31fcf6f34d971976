"""A package index with torch, verl and what they need, a few hundred bytes each: builds in seconds, by the real pip."""

import base64
import contextlib
import hashlib
import threading
import zipfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

PACKAGES = [
    # name, version, needs, files
    (
        "torch",
        "2.11.0",
        ["sympy"],
        {"torch/version.py": "__version__ = '2.11.0+cu130'\ncuda: Optional[str] = '13.0'\n"},
    ),
    ("torch", "2.12.0", ["sympy"], {"torch/version.py": "__version__ = '2.12.0+cu130'\ncuda = '13.0'\n"}),
    ("sympy", "1.0", [], {}),
    ("ray", "2.60.0", ["sympy"], {}),
    ("verl", "0.9.0", ["torch", "ray"], {}),
    ("verl", "0.9.1", ["torch", "ray"], {"verl/trainer.py": "", "verl/version/version": "0.9.1\n"}),
]
CPU_PACKAGES = [("torch", "2.11.0+cpu", [], {"torch/version.py": "__version__ = '2.11.0+cpu'\ncuda = None\n"})]


def write_wheel(folder, name, version, needs=(), files=None):
    content = {f"{name}/__init__.py": f"__version__ = {version!r}\n", **(files or {})}
    info = f"{name}-{version}.dist-info"
    content[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + "".join(
        f"Requires-Dist: {need}\n" for need in needs
    )
    content[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: tiny\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    lines = []
    for path, text in content.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={digest},{len(text.encode())}")
    content[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,"]) + "\n"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for inside, text in content.items():
            wheel.writestr(inside, text)
    return path


def write_index(folder, packages=None):
    """A simple index (PEP 503) as files: <folder>/<name>/index.html and the wheels beside it."""
    for name, version, needs, files in packages or PACKAGES:
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        write_wheel(place, name, version, needs, files)
        wheels = sorted(path.name for path in place.glob("*.whl"))
        links = "".join(f'<a href="{wheel}">{wheel}</a>\n' for wheel in wheels)
        (place / "index.html").write_text(f"<!DOCTYPE html><html><body>\n{links}</body></html>\n")
    return folder


class IndexServer:
    """Serves an index over HTTP and can hold back files whose path contains `stall`, as a slow network would."""

    def __init__(self, folder):
        self.stall = None
        self.stalled = threading.Event()
        self.go_on = threading.Event()
        self.requests = []
        outer = self

        class Handler(SimpleHTTPRequestHandler):
            def __init__(self, *args):
                super().__init__(*args, directory=str(folder))

            def do_GET(self):
                outer.requests.append(self.path)
                if outer.stall and outer.stall in self.path:
                    outer.stalled.set()
                    outer.go_on.wait(60)
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    super().do_GET()

            def log_message(self, *_args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_failure):
        self.go_on.set()
        self.server.shutdown()
        self.server.server_close()
