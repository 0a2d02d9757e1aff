"""Cohorts in the formats of other tools: one module per format; :data:`~.registry.EXPORTERS` names them."""
