"""A JupyterLab of the test's own, on the loopback address, and a browser; both end with the tests, failed or not."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
SETTINGS = {  # no question about news; everything else is as JupyterLab comes, which draws a cell when it is in sight
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "apputils-extension/themes": {"theme": "JupyterLab Light"},
}


@pytest.fixture(scope="session")
def artifacts():
    """The folder that screenshots are kept in."""
    folder = ROOT / "test-artifacts"
    folder.mkdir(exist_ok=True)
    return folder


class Lab:
    """A running JupyterLab: its address, and its files."""

    def __init__(self, folder):
        self.folder, self.token = folder, secrets.token_hex(16)
        self.lay_out_notebooks()
        shutil.copytree(ROOT / "benchmarks", folder / "benchmarks")
        for name, values in SETTINGS.items():
            self.set(name, values)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        environment = os.environ | {
            "LIRF_KIT_HOME": str(folder / "home"),
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
            "OMP_NUM_THREADS": "1",
            "LIRF_KIT_PREDICT": "0",  # nobody is there to answer
        }
        command = [
            sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={self.port}",
            f"--IdentityProvider.token={self.token}", f"--ServerApp.root_dir={folder / 'notebooks'}",
            f"--LabApp.user_settings_dir={folder / 'settings'}", f"--LabApp.workspaces_dir={folder / 'workspaces'}",
            "--ServerApp.port_retries=0", "--LabApp.expose_app_in_browser=True",
        ]  # fmt: skip
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.append("--allow-root")
        self.log = open(folder / "lab.log", "w")  # noqa: SIM115
        self.process = subprocess.Popen(
            command, env=environment, stdout=self.log, stderr=subprocess.STDOUT, start_new_session=True
        )

    def lay_out_notebooks(self):
        """Copy the notebooks as they are in the project over what tests before have saved."""
        left_out = shutil.ignore_patterns(".*", "explorer-files")
        shutil.copytree(ROOT / "notebooks", self.folder / "notebooks", ignore=left_out, dirs_exist_ok=True)

    def set(self, name, values):
        """Write one of JupyterLab's settings."""
        file = self.folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))

    def url(self, notebook, workspace="explore"):
        """Return a notebook's address, in a workspace of its own: no other notebook is opened again beside it."""
        return f"http://127.0.0.1:{self.port}/lab/workspaces/{workspace}/tree/{notebook}?token={self.token}"

    def ask(self, path, method="GET"):
        """Return what the server answers, from JSON."""
        headers = {"Authorization": f"token {self.token}"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/{path}", headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or "null")

    def end_sessions(self):
        """End every notebook's kernel."""
        for session in self.ask("api/sessions"):
            self.ask(f"api/sessions/{session['id']}", "DELETE")

    def wait(self):
        for _ in range(240):
            if self.process.poll() is not None:
                break
            try:
                return self.ask("api")
            except OSError:
                time.sleep(0.5)
        raise RuntimeError(f"JupyterLab did not start: {(self.folder / 'lab.log').read_text()[-2000:]}")

    def end(self):
        """End the server and its kernels, which are in its process group or end with it."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.log.close()


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    running = Lab(tmp_path_factory.mktemp("lab"))
    try:
        running.wait()
        yield running
    finally:
        running.end()


@pytest.fixture(scope="session")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.exit("a browser is needed: sudo apt-get install chromium", returncode=2)
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=path, args=list(FLAGS))
        yield opened
        opened.close()
