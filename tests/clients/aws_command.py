"""The `aws` command in a process that has loaded it already: each command is a fork of that one, since loading it takes most of
a short command's time. What runs is the installed command's own entry point, with arguments, environment, directory and streams of
its own."""

import array
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import traceback

TIMEOUT = 300


class Aws:
    """The process that is forked; started with the first command."""

    def __init__(self):
        self.process = self.socket = None

    def start(self):
        self.socket, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, __file__, str(theirs.fileno())]
            # Nothing of the caller's environment is in effect while the command is loaded, as for the commands.
            environment = {"PATH": os.environ["PATH"], "HOME": os.devnull}
            self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment, stdin=subprocess.DEVNULL)
        # A command ends itself before, and the next one can be run.
        self.socket.settimeout(TIMEOUT + 60)

    def stop(self):
        if self.process is not None:
            self.socket.close()
            self.process.wait(10)

    def run(self, arguments, environment, directory, stdin=None, stdout=None):
        """The finished command; `stdout` is the text, unless a file was given for it."""
        if self.process is None:
            self.start()
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors, open(os.devnull, "rb") as nothing:
            streams = [stdin or nothing, stdout or out, errors]
            request = json.dumps([arguments, environment, str(directory)]).encode()
            descriptors = array.array("i", [stream.fileno() for stream in streams])
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)]
            self.socket.sendmsg([len(request).to_bytes(4, "big")], rights)
            self.socket.sendall(request)
            status = int.from_bytes(receive(self.socket, 4), "big", signed=True)
            told, wrong = (file.seek(0) or file.read().decode() for file in (out, errors))
        return subprocess.CompletedProcess(["aws", *arguments], status, told, wrong)


def receive(connection, length):
    received = b""
    while len(received) < length:
        piece = connection.recv(length - len(received))
        if not piece:
            raise EOFError("the process that runs `aws` has ended")
        received += piece
    return received


def serve(connection):
    """Forks for each request, until the other end is closed."""
    before = set(os.environ)
    import awscli.clidriver

    import awscli.handlers  # noqa: F401, most of the command, which it imports when it begins

    # Where the command's own data is.
    added = {name: value for name, value in os.environ.items() if name not in before}
    while True:
        length, descriptors, *_ = socket.recv_fds(connection, 4, 3)
        if not length:
            return
        arguments, environment, directory = json.loads(receive(connection, int.from_bytes(length, "big")))
        child = os.fork()
        if child == 0:
            connection.close()
            become(awscli.clidriver.main, arguments, added | environment, directory, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        _, status = os.waitpid(child, 0)
        connection.sendall(os.waitstatus_to_exitcode(status).to_bytes(4, "big", signed=True))


def become(main, arguments, environment, directory, descriptors):
    """The command, as a process that was started for it."""
    for target, descriptor in enumerate(descriptors):
        os.dup2(descriptor, target)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    signal.alarm(TIMEOUT)
    sys.argv = ["aws", *arguments]
    status = 255
    try:
        status = main()
    except SystemExit as ended:
        status = ended.code
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(status if isinstance(status, int) else int(status is not None))


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as ours:
        serve(ours)
