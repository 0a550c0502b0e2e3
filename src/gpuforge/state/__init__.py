"""The journal, locks and paths: what gpuforge remembers."""
