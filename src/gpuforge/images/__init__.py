"""Deep-learning image families and pure selection over them."""
