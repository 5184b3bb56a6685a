"""Large buffers of submissions, shared by content with all workers.

    keep(buffers)            Depot: digest -> place; pins; what is dropped        budget: decides, pure
         |                     |                                                  memory: how much there is
         v                     v
       Blocks (pins)        Slab: a sealed memfd, or an unlinked file, that holds many buffers
         |                     |
         | places in headers   | descriptor, once per worker
         v                     v
       Mappings (in a worker): one private mapping per slab, kept between runs, restored after a run has written to it

A slab can be written to only through the one mapping that the engine made before sealing it. A worker maps it
copy-on-write. Its memory is used for other content only after every worker that had it has confirmed that neither it
nor a process it has started can still see it; otherwise the slab is closed, and lives on for those who look at it.
"""
