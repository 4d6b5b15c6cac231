"""The protocols: bytes to messages and back, nothing else. What to do with a request is the data plane's."""
