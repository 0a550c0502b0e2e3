"""What must be where, proven."""

from gpuforge.sync.deliver import deliver
from gpuforge.sync.pull import pull, pull_paths
from gpuforge.sync.push import Root, push
from gpuforge.sync.roots import Preview, list_roots, preview, task_roots

__all__ = ["Preview", "Root", "deliver", "list_roots", "preview", "pull", "pull_paths", "push", "task_roots"]
