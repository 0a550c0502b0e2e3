"""Facts about what clouds sell, and pure selection over them: GPU names, instance types, zones, prices."""
