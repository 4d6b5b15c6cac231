"""HTTP/1.1 on our own asyncio.Protocol: ASGI servers cost as much a request as a small model takes.

`connection` speaks HTTP and knows no route; `v2` and `metrics_page` are what it calls; `listener` owns the sockets.
"""
