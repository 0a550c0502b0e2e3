"""Facts about accelerators, instance types and prices, and pure selection over them."""
