"""What HTTP and gRPC share of the V2 protocol: its parameters and its extensions, on messages. No bytes of either."""
