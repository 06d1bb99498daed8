"""Between Python types and protobuf messages."""
