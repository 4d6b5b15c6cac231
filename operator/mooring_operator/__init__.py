"""Mooring, the operator: one InferenceService becomes a model that answers.

The floors, highest first: `__main__` > `handlers` > `work` > `reconcile` > `cluster`, `desired`, `plan`, `status`,
`validation` > `facts` > `api` > `metrics`, `settings`. A lower floor never imports a higher one (import-linter).
"""
