"""V2 over gRPC, on our own HTTP/2: grpcio alone takes more time a request than Triton does altogether.

From the bytes up: `frames` (one frame), `field_table` and `headers` (header blocks), `h2send` and `h2connection`
(streams, flow control and limits, without I/O), `protocol` (its socket and its time limits), `calls` (gRPC over a
stream), `messages` and `infer` (requests of a model), `service` and `health` (all other methods). `schema` holds the
protobuf messages.
"""
