"""How it travels, for the engine, the zygote and the workers alike.

``messages`` are what is said, ``wire`` passes them through sockets, ``segments`` are the shared memory that goes along
as a descriptor.
"""
