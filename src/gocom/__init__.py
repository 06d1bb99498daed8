"""GO-COM: goal-oriented image communication. What is installed is this one package.

In the source its parts are the folders at the top of the repository; the links beside this file put them below one name:

    gocom.common                what both ends agree on
    gocom.transmitter           image to packets
    gocom.channel_emulator      what happens to packets on their way
    gocom.receiver              packets to image
    gocom.client                the `gocom` command and the Python client
    gocom.training              a recipe for each net
    gocom.evaluation            studies, comparisons, benches
    gocom.v1                    the protobuf messages and gRPC services
"""
