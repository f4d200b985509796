"""Programs that begin where one process stands once it has imported Keras, without keras_prelu.

`keras_prelu.deployment.formats.keras` starts a process for each file that it checks, most of whose
time is the import of Keras and its backend. Here one process imports them, and each program runs in
a fork of it, which knows nothing of the programs before.
"""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

_SERVER = """
import json, os, sys, traceback
sys.modules["keras_prelu"] = None
import keras, numpy
for line in sys.stdin:
    request = json.loads(line)
    child = os.fork()
    if not child:
        status = 1
        try:
            os.dup2(os.open(request["errors"], os.O_WRONLY | os.O_CREAT), 2)
            os.dup2(2, 1)
            os.chdir(request["folder"])
            sys.path[:] = request["path"]
            sys.argv = ["-c", *request["arguments"]]
            exec(request["program"], {"__name__": "__main__"})
            status = 0
        except BaseException:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(status)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


class ForkedReaders:
    """Runs programs as `subprocess.run` does, in forks of one process.

    Args:
        folder: Path. Where what the programs write to standard error is kept.
    """

    def __init__(self, folder):
        self._errors = folder / "errors"
        self._server = None

    def run(self, command, *, env, **options):
        """Run `python -c program arguments`, and return its status and its standard error."""
        _, flag, program, *arguments = command
        assert flag == "-c"
        assert options == {"capture_output": True, "text": True, "check": False}
        if self._server is None:
            self._server = subprocess.Popen(
                [sys.executable, "-c", _SERVER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=env,
            )
        self._errors.unlink(missing_ok=True)
        request = {
            "program": program,
            "arguments": arguments,
            "path": ["", *env["PYTHONPATH"].split(os.pathsep)],
            "folder": os.getcwd(),
            "errors": str(self._errors),
        }
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        status = int(self._server.stdout.readline())
        return SimpleNamespace(returncode=status, stderr=self._errors.read_text())

    def close(self):
        if self._server is not None:
            self._server.kill()  # An orderly end would take its time, and has nothing to keep.
            self._server.communicate()
