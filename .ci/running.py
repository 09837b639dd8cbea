"""Starts the built application for the checks of this folder: a new SQLite database, loopback only."""

import base64
import fcntl
import json
import os
import pathlib
import secrets
import socket
import struct
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


def without_network(*arguments):
    """Runs this script again with these arguments, where nothing but loopback can be reached.

    Needs the right to make a network of one's own; without it a note is printed and the network is there.
    """
    command = [sys.executable, sys.argv[0], str(binary()), *arguments]
    alone = ["unshare", "--map-root-user", "--net"]
    if subprocess.run([*alone, "true"], capture_output=True).returncode != 0:
        print("note: unshare is not allowed here, so the network is not cut off")
        alone = []
    return subprocess.run([*alone, *command], env={**os.environ, "CUT_OFF": "yes" if alone else "no"}).returncode


def raise_loopback():
    """A new network has an interface for loopback that is down."""
    if os.environ.get("CUT_OFF") == "yes":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            up = 0x1
            fcntl.ioctl(control, 0x8914, struct.pack("16sh14x", b"lo", up))  # SIOCSIFFLAGS


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


def ask(url, key=None, body=None):
    """The JSON that is answered to a GET, or to a POST of this body."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    if body is not None:
        headers["content-type"] = "application/json"
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=30) as answer:
        return json.loads(answer.read())


def sign_up(base, email="owner@example.com"):
    return ask(f"{base}/signup", body={"email": email})["api_key"]["plaintext"]


def stop(running):
    for process in reversed(running):
        process.terminate()
    for process in running:
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
