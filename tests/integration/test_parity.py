"""The pipeline in one process and the three services: same bytes, masks and pictures; and bytes as captured."""

import grpc
import numpy as np
import pytest

from channel_emulator.chain import Chain
from client.client import Client
from common.channel_spec import parse_spec
from common.images import png_bytes, to_uint8
from common.types import LinkSettings
from gocom.v1 import link_pb2, link_pb2_grpc

SPECS = ["clean", "packet_erasure:rate=0.3", "gilbert_elliott:p=0.1,r=0.3+bit_flip:rate=1e-4"]
CODECS = ["jpeg", "webp", "lami_go"]
