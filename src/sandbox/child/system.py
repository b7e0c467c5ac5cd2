# What the standard library expects of a system: enough for its modules to load, nothing that does anything.
import sys
import time
import _io


class FileIO(_io._RawIOBase):
    """A file, of which there are none."""

    def __init__(self, *args, **kwargs):
        raise PermissionError("no files in the sandbox")


class PathLike:
    """The class of paths, of which there are none."""


def refuse(*args, **kwargs):
    raise PermissionError("no system in the sandbox")


def fspath(path):
    if isinstance(path, (str, bytes)):
        return path
    raise TypeError("expected str or bytes")


def module(title, /, **members):
    made = type(sys)(title)
    made.__dict__.update(members)
    sys.modules[title] = made
    return made


def load_path(name):
    if name != "path":
        raise AttributeError(f"module 'os' has no attribute '{name}'")
    import posixpath

    sys.modules["os.path"] = posixpath
    system.path = posixpath
    return posixpath


_io.FileIO = FileIO
module("posix", environ={})
system = module(
    "os",
    name="posix",
    curdir=".",
    pardir="..",
    sep="/",
    altsep=None,
    extsep=".",
    pathsep=":",
    linesep="\n",
    devnull="/dev/null",
    environ={},
    getenv=lambda name, default=None: default,
    error=OSError,
    PathLike=PathLike,
    fspath=fspath,
    urandom=refuse,
    getcwd=lambda: "/",
    cpu_count=lambda: 1,
    __getattr__=load_path,
)
# Waiting takes no time: what a program earns does not depend on how long it waits.
time.sleep = lambda seconds: None
sys.path.clear()
sys.executable = ""
del sys.breakpointhook, sys.__breakpointhook__
