"""Conversion between Python types and protobuf messages."""
