"""What runs on every node, pushed whole as a package ``gpuforge_node``: the agent, its parts, the receiver.

The client runs :mod:`~gpuforge.node.remote.agent` as ``python3 -I -S`` with a command and JSON on stdin. It
needs the standard library of Python 3.8 alone, and imports late, because its start-up is part of every
command: its modules define ``TYPE_CHECKING`` themselves, as :mod:`typing` takes as long to load as they do.
It leaves to the client what a job is and what its states mean to a person; it knows no cloud.

Modules import each other relatively, so that they find each other under either name of the package. What a
long-lived process will need of the package, it imports at its beginning: the folder may be gone later.
"""
