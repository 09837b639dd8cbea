"""Starts the built application for the checks of this folder: a new SQLite database, loopback only."""

import base64
import json
import os
import pathlib
import secrets
import socket
import subprocess
import sys
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def binary():
    target = os.environ.get("CARGO_TARGET_DIR", str(ROOT / "target"))
    return pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else f"{target}/debug/ampout").resolve()


def get(url):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=5) as answer:
        return answer.read()


def start(folder, running, **settings):
    """Starts the application in `folder`; answers its address once it listens."""
    port = free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "LOCO_ENV": "development",
        "LOCO_CONFIG_FOLDER": str(ROOT / "config"),
        "DATABASE_URL": f"sqlite://{folder}/ampout.sqlite?mode=rwc",
        "MASTER_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
        "PORT": str(port),
        "LOG_LEVEL": "warn",
        "RATE_LIMIT_PER_MINUTE": "1000000",
        "SIGNUPS_PER_HOUR": "1000000",
        **settings,
    }
    application = subprocess.Popen([binary(), "start"], cwd=folder, env=environment)
    running.append(application)
    base, end = f"http://127.0.0.1:{port}", time.monotonic() + 60
    while time.monotonic() < end:
        assert application.poll() is None, "the application did not start"
        try:
            get(f"{base}/status")
            return base
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the application does not answer")


def sign_up(base):
    request = urllib.request.Request(f"{base}/signup", json.dumps({"email": "owner@example.com"}).encode())
    request.add_header("content-type", "application/json")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=30) as answer:
        return json.loads(answer.read())["api_key"]["plaintext"]


def stop(running):
    for process in reversed(running):
        process.terminate()
    for process in running:
        process.wait(30)
