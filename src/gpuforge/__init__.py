"""gpuforge: rent cloud GPU machines, train on them, and give them back."""
