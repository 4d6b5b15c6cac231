"""Where kopf stands: its settings, its event handlers, and the process around them. No decision about a service."""
