"""All I/O against Kubernetes: the client, the cache, what is observed, what is applied. It decides nothing."""
