"""What autoscaling asks Prometheus, and what it makes of the answers. Pure: no I/O, no clock.

The adapter and the operator's status both stand on it, so that the status tells what the adapter answers.
"""
