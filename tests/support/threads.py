"""What the kernel says of the threads of a process."""

import pathlib


def threads(pid):
    """Yields proc_pid_status(5) of each as a dict. A thread that ends while it is looked at is left out."""
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            status = (task / "status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        yield dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
