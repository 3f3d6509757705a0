"""Jobs in whose step host no process can be killed, as one that hangs in the kernel cannot."""

from _dagster_taskiq_host import linux
from jobs import defs  # noqa: F401

linux.send_group = lambda group, signum: None
linux.send = lambda pid, signum: True
