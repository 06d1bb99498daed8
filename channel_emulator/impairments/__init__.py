"""The faults, one file each; they register with IMPAIRMENTS.

A fault that erases packets derives from PacketFault and defines `expected_rate` and `draw`; packet_erasure.py is the
smallest example. A fault that flips bits derives from BitFault; one that delays, reorders or duplicates packets derives
from TimedFault. All base classes are in channel_emulator/fault_bases. Faults of other packages are plug-ins
(common/registry.py); on the wire they are `extension` messages.
"""

from gocom.channel_emulator.fault_bases.fault import Fault
from gocom.common.registry import Registry

IMPAIRMENTS: Registry[type[Fault]] = Registry("impairment", "gocom.channel_emulator.impairments")
