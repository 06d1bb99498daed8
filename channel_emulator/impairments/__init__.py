"""One file a fault; files here register with IMPAIRMENTS.

A fault that erases packets derives from PacketFault and says `expected_rate` and `draw`; see packet_erasure.py for the
smallest one. One that flips bits derives from BitFault, one of time, order or number from TimedFault. All bases are in
channel_emulator/fault_bases. Faults from outside are plug-ins (common/registry.py); the wire carries them in its
extension case.
"""

from gocom.channel_emulator.fault_bases.fault import Fault
from gocom.common.registry import Registry

IMPAIRMENTS: Registry[type[Fault]] = Registry("impairment", "gocom.channel_emulator.impairments")
