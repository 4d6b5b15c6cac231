"""What HTTP and gRPC share of the V2 protocol: its parameters, its extensions, how it speaks of sessions, on messages.

No bytes of either.
"""
