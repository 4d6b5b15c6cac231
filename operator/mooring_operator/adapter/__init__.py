"""The API server of external.metrics.k8s.io: what autoscalers ask, answered from Prometheus by the rules of `scaling/`.

Its own process, in several replicas that share nothing but a Secret with the serving certificate. Which numbers there
are and when there is none is told by `scaling/answers.py`; here they are fetched, kept fresh and handed to those who
may read them. Nothing in here decides how many replicas a service gets.
"""
