"""The nouns of Mooring: the custom resource, its names, quantities, conditions and its CRD. No I/O, no decisions."""
