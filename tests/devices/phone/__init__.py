"""A phone for tests: the device side of the adb protocol, for the real adb server and its real clients.

    with AdbServer(tmp_path) as adb, Phone(tmp_path / "one") as phone:
        serial = adb.connect(phone)
        adb.client.device(serial).shell2("getprop ro.product.model", v2=True)
        phone.events("shell")

Nothing but the device is simulated: files are pushed over TCP, commands run in /bin/sh in a folder of their own, and a
pushed `benchmark_model` runs the pushed network with LiteRT.
"""

from phone.device import Phone
from phone.fault import Fault
from phone.sandbox import elf_header
from phone.server import AdbServer

__all__ = ["AdbServer", "Fault", "Phone", "elf_header"]
