"""The processes of one run: the store, and what stands in front of it. Each ends with this process, whatever ends it."""

import json
import os
import resource
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

ACCESS_KEY, SECRET_KEY = "bench-client", "bench-client-secret"
TICKS = os.sysconf("SC_CLK_TCK")
STARTUP = 20.0
# States of a TCP connection in /proc/net/tcp.
TIME_WAIT, LISTEN = "06", "0A"


def free_port():
    return free_ports(1)[0]


def free_ports(count):
    """Different ones: each is taken until all are chosen."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def opener():
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Peer:
    """A server that takes the load. `bucket` is where its objects are; `process` is `None` for one that is not running here.
    With TLS, `ca` is the certificate that its clients trust."""

    def __init__(self, name, port, process=None, bucket=None, ca=None):
        self.name, self.port, self.process, self.bucket, self.ca = name, port, process, bucket, ca
        self.log = None
        # Options of every request.
        self.options = {}

    def with_customer_key(self):
        """The same server, asked with a key of the client's (SSE-C); its objects are in another bucket."""
        peer = Peer("customer-key", self.port, self.process, "sealed-customer-key", self.ca)
        peer.admin, peer.log, peer.options = self.admin, self.log, {"customer_key": True}
        return peer

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def pids(self):
        """The process and its children: nginx has workers."""
        if self.process is None:
            return []
        found, children = [], {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                except OSError:
                    continue
                children.setdefault(int(fields[1]), []).append(int(entry.name))
        todo = [self.process.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            todo += children.get(pid, [])
        return found

    def cpu_seconds(self):
        total = 0
        for pid in self.pids():
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            total += int(fields[11]) + int(fields[12])
        return total / TICKS

    def reset_peak(self):
        for pid in self.pids():
            try:
                Path(f"/proc/{pid}/clear_refs").write_text("5")
            except OSError:
                pass

    def _memory(self, field):
        total = 0
        for pid in self.pids():
            try:
                status = Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue
            total += next((int(line.split()[1]) for line in status.splitlines() if line.startswith(field)), 0)
        return total / 1024

    def peak_mib(self):
        return self._memory("VmHWM:")

    def resident_mib(self):
        return self._memory("VmRSS:")

    def clients(self):
        """Connections of clients that it has not closed yet."""
        states = [line.split()[1:4:2] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return sum(local.endswith(f":{self.port:04X}") and state not in (LISTEN, TIME_WAIT) for local, state in states)

    def descriptors(self):
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in self.pids())


class Peers:
    """Starts and stops them. Everything they write is in one temporary directory."""

    def __init__(self, binaries):
        self.binaries = binaries
        # On a disk, where `scratch` is one: the logs are written there.
        self.directory = Path(tempfile.mkdtemp(prefix="s3veil-bench-", dir=binaries.get("scratch")))
        self.certificate, self.key = self.directory / "cert.pem", self.directory / "key.pem"
        self.running = []
        self.store = None
        # Thousands of connections, for this process and all that it starts.
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    def __enter__(self):
        self.store = self._start_store()
        return self

    def __exit__(self, *_):
        for process in reversed(self.running):
            process.terminate()
        for process in reversed(self.running):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _run(self, name, command, **options):
        # setpriv asks the kernel to end the process when this one ends, even by SIGKILL.
        command = ["setpriv", "--pdeathsig", "TERM", "--", *map(str, command)]
        # Appended to, so that it can be emptied while the process writes.
        log = open(self.directory / f"{name}.log", "a")
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.directory, **options)
        self.running.append(process)
        return process

    def _await(self, name, process, port, patience=STARTUP):
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                if process.poll() is not None:
                    break
                time.sleep(0.05)
        raise SystemExit(f"{name} did not start:\n" + (self.directory / f"{name}.log").read_text()[-2000:])

    def _start_store(self):
        subprocess.run([self.binaries["load"], "certificate", "--directory", self.directory], check=True)
        port, tls_port = free_ports(2)
        command = [self.binaries["load"], "store", "--listen", f"127.0.0.1:{port}", "--listen-tls", f"127.0.0.1:{tls_port}"]
        process = self._run("store", [*command, "--certificate", self.certificate, "--private-key", self.key], stdin=subprocess.PIPE)
        self._await("store", process, port)
        peer = Peer("store", port, process)
        peer.tls_port = tls_port
        return peer

    def _store_address(self, tls):
        return f"127.0.0.1:{self.store.tls_port if tls else self.store.port}"

    def direct(self, tls=False):
        return Peer("direct", self.store.tls_port if tls else self.store.port, None, "plain", self.certificate if tls else None)

    def nginx(self, tuned=True, tls=False):
        name = "nginx" if tuned else "nginx-stock"
        port, scheme = free_port(), "https" if tls else "http"
        secured = f"ssl_certificate {self.certificate}; ssl_certificate_key {self.key}; ssl_protocols TLSv1.2 TLSv1.3; proxy_ssl_protocols TLSv1.2 TLSv1.3;" if tls else ""
        # Tuned: a response goes through memory in large pieces. Either way a request body is passed on as it comes, and
        # nothing is spooled to a disk, or it would be no plain reverse proxy.
        buffers = "proxy_buffers 16 64k; proxy_buffer_size 64k; proxy_busy_buffers_size 512k; client_body_buffer_size 128k;" if tuned else ""
        user = "user root;" if os.geteuid() == 0 else ""
        run = name + "-tls" if tls else name
        folder = self.directory / run
        folder.mkdir()
        (folder / "nginx.conf").write_text(f"""
            {user} daemon off; worker_processes {os.cpu_count()}; pid {folder}/pid; error_log {folder}/error.log warn;
            events {{ worker_connections 32768; }}
            http {{
                access_log off; client_max_body_size 0; tcp_nodelay on; sendfile on;
                keepalive_requests 1000000000; keepalive_timeout 600s;
                client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
                uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
                upstream store {{ server {self._store_address(tls)}; keepalive 4096; keepalive_requests 1000000000; }}
                server {{
                    listen 127.0.0.1:{port} {'ssl' if tls else ''} backlog=4096; {secured}
                    location / {{
                        proxy_pass {scheme}://store; proxy_http_version 1.1; proxy_set_header Connection "";
                        proxy_set_header Host $http_host; proxy_request_buffering off; proxy_max_temp_file_size 0; {buffers}
                    }}
                }}
            }}""")
        process = self._run(run, [self.binaries["nginx"], "-c", folder / "nginx.conf", "-p", folder, "-e", folder / "error.log"])
        self._await(run, process, port)
        return Peer(name, port, process, "plain", self.certificate if tls else None)

    def s3veil(self, name="s3veil", binary=None, log=None, settings="", tls=False, around=(), patience=STARTUP, rights='access = "admin"'):
        """`log` is a level other than the default; `around` a command that runs the server, such as valgrind; `rights` the client's,
        of which version 0.1 knows nothing."""
        port, admin = free_ports(2)
        run = name + "-tls" if tls else name
        folder = self.directory / run
        folder.mkdir()
        listen = f'tls = {{ certificate = "{self.certificate}", private_key = "{self.key}" }}' if tls else ""
        trust = f'ca_file = "{self.certificate}"' if tls else ""
        level = f'[log]\nlevel = "{log}"' if log else ""
        configuration = f"""
            [listen]
            address = "127.0.0.1:{port}"
            {listen}
            [admin]
            address = "127.0.0.1:{admin}"
            [upstream]
            endpoint = "{'https' if tls else 'http'}://{self._store_address(tls)}"
            {trust}
            region = "us-east-1"
            access_key_id = "upstream"
            secret_access_key = "upstream-secret"
            [keyring]
            provider = "local"
            file = "{folder}/keyring"
            {settings}
            [[client]]
            access_key_id = "{ACCESS_KEY}"
            secret_access_key = "{SECRET_KEY}"
            {rights}
            [[bucket]]
            name = "*"
            {level}
            """
        (folder / "proxy.toml").write_text(configuration)
        binary = binary or self.binaries["s3veil"]
        subprocess.run([binary, "keygen", "--config", folder / "proxy.toml"], check=True, stdout=subprocess.DEVNULL)
        # RUST_LOG would take precedence over the configuration.
        environment = {variable: value for variable, value in os.environ.items() if variable != "RUST_LOG"}
        process = self._run(run, [*around, binary, "serve", "--config", folder / "proxy.toml"], env=environment)
        self._await(run, process, port, patience)
        peer = Peer(name, port, process, f"sealed-{run}", self.certificate if tls else None)
        peer.admin, peer.log = admin, self.directory / f"{run}.log"
        return peer

    def rclone(self):
        port, folder = free_port(), self.directory / "rclone"
        folder.mkdir()
        obscure = lambda text: subprocess.run([self.binaries["rclone"], "obscure", text], check=True, capture_output=True, text=True).stdout.strip()
        (folder / "rclone.conf").write_text(f"""[store]
type = s3
provider = Other
access_key_id = rclone
secret_access_key = rclone-secret
endpoint = http://{self.store.address}
force_path_style = true
no_check_bucket = true
[sealed]
type = crypt
remote = store:rclone
filename_encryption = off
directory_name_encryption = false
password = {obscure("bench password")}
""")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RCLONE_"))}
        # Its buckets are the top folders of what it serves: an object in one makes it exist.
        command = [self.binaries["rclone"], "rcat", "sealed:sealed/here", "--config", folder / "rclone.conf"]
        subprocess.run(command, input=b"here", check=True, stdout=subprocess.DEVNULL, timeout=60, env=environment)
        process = self._run("rclone", [self.binaries["rclone"], "serve", "s3", "sealed:", "--addr", f"127.0.0.1:{port}", "--config", folder / "rclone.conf",
                                       "--cache-dir", folder / "cache", "--auth-key", f"{ACCESS_KEY},{SECRET_KEY}", "--vfs-cache-mode", "off"], env=environment)
        self._await("rclone", process, port)
        return Peer("rclone", port, process, "sealed")

    def store_counts(self):
        with opener().open(f"http://{self.store.address}/-/counts", timeout=10) as answer:
            return json.load(answer)


def metrics(peer):
    """Counters of s3veil's /metrics, summed over their labels where `name` alone is asked for."""
    with opener().open(f"http://127.0.0.1:{peer.admin}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    counters = {}
    for line in lines:
        if line and not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            counters[name] = float(value)
    return counters
