"""A stand-in for the Hub's HTTP API, as far as pushing and pulling need it: repositories as dictionaries of files."""

import base64
import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


class HubStandIn(ThreadingHTTPServer):
    """`files[kind, name]` are a repository's files; only those with the token may write."""

    daemon_threads = True

    def __init__(self, token="hf_test"):
        super().__init__(("127.0.0.1", 0), Handler)
        self.token, self.files = token, {}
        self.asked, self.sent = [], []  # (method, path) of each request; (path, bytes) of each answer with a body

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        path = urlsplit(self.path).path.strip("/").split("/")
        self.server.asked.append((self.command, self.path))
        if self.headers.get("authorization") != f"Bearer {self.server.token}":
            return self.answer({"error": "Invalid credentials"}, 401)
        if path == ["api", "repos", "create"]:
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
            known = self.server.files.setdefault((asked.get("type") or "model", name), {})
            return self.answer({"url": f"{self.server.url}/{name}", "name": name}, 409 if known else 200)
        if path == ["api", "validate-yaml"]:
            return self.answer({"errors": [], "warnings": []})
        if path[0] == "api" and path[4] == "preupload":
            files = json.loads(body)["files"]
            modes = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in files]
            return self.answer({"files": modes})
        if path[0] == "api" and path[4] == "commit":
            kind, name = path[1].removesuffix("s"), "/".join(path[2:4])
            files = self.server.files[kind, name]
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                elif line["key"] == "deletedFile":
                    files.pop(line["value"]["path"], None)
            commit = self.sha(files)
            return self.answer(
                {"commitOid": commit, "commitUrl": f"{self.server.url}/{name}/commit/{commit}", "success": True}
            )
        return self.answer({"error": "not here"}, 404)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = unquote(urlsplit(self.path).path).strip("/").split("/")
        self.server.asked.append((self.command, self.path))
        if path[0] == "api" and path[1:2] and path[1] in ("models", "datasets"):
            return self.describe(path[1].removesuffix("s"), "/".join(path[2:4]), path[4:])
        kind = "dataset" if path[0] == "datasets" else "model"
        path = path[1:] if kind == "dataset" else path
        files = self.server.files.get((kind, "/".join(path[:2])))
        if files is None or path[2] != "resolve" or "/".join(path[4:]) not in files:
            missing = "EntryNotFound" if files else "RepoNotFound"
            return self.answer({"error": "not here"}, 404, {"X-Error-Code": missing})
        content = files["/".join(path[4:])]
        etag = f'"{hashlib.sha1(content).hexdigest()}"'
        headers = {"ETag": etag, "X-Repo-Commit": self.sha(files), "Accept-Ranges": "bytes"}
        asked = self.headers.get("range")
        if asked:
            first, last = (int(each) if each else None for each in asked.removeprefix("bytes=").split("-"))
            part = content[first : None if last is None else last + 1]
            headers["Content-Range"] = f"bytes {first}-{first + len(part) - 1}/{len(content)}"
            return self.send(part, 206, "application/octet-stream", headers)
        return self.send(content, 200, "application/octet-stream", headers)

    def describe(self, kind, name, rest):
        files = self.server.files.get((kind, name))
        if files is None:
            return self.answer({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        if rest[:1] in (["tree"], ["paths-info"]):
            return self.answer([self.entry(path, content) for path, content in files.items()])
        siblings = [{"rfilename": path, "size": len(content)} for path, content in files.items()]
        found = {"id": name, "sha": self.sha(files), "siblings": siblings, "private": False, "tags": [], "downloads": 0}
        return self.answer({**found, "likes": 0, "gated": False, "disabled": False})

    @staticmethod
    def entry(path, content):
        return {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}

    @staticmethod
    def sha(files):
        return hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()

    def answer(self, values, status=200, headers=None):
        self.send(json.dumps(values).encode(), status, "application/json", headers or {})

    def send(self, content, status, kind, headers):
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.server.sent.append((self.path, len(content)))
            self.wfile.write(content)


@contextmanager
def hub_stand_in():
    """A stand-in that answers while the body runs."""
    server = HubStandIn()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
