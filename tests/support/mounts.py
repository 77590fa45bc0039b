"""Mounts that a test makes, taken away at its end. A sidecar started afterwards sees them."""

import contextlib
import subprocess


def _run(*argv):
    subprocess.run(argv, check=True, capture_output=True)


@contextlib.contextmanager
def tmpfs(folder, size="64k"):
    folder.mkdir(exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        _run("umount", "-l", str(folder))


def make_read_only(folder):
    _run("mount", "-o", "remount,ro", str(folder))


@contextlib.contextmanager
def bound_file(path):
    """The file becomes a mount point of its own, as Docker and Kubernetes mount single files: it cannot be replaced."""
    _run("mount", "--bind", str(path), str(path))
    try:
        yield path
    finally:
        _run("umount", "-l", str(path))


@contextlib.contextmanager
def overlay(folder, below, work):
    """`folder` shows what is in `below`, but inotify on it sees nothing of what happens there."""
    for path in (folder, work, work / "upper", work / "work"):
        path.mkdir(exist_ok=True)
    _run("mount", "-t", "overlay", "-o", f"lowerdir={below},upperdir={work}/upper,workdir={work}/work", "overlay",
         str(folder))
    try:
        yield folder
    finally:
        _run("umount", "-l", str(folder))
