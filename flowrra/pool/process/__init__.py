"""What runs in processes other than the engine's.

``zygote`` is the template that forks workers, hears what they write and ends what they leave behind; ``birth`` is what
a fork does to become a worker; ``worker`` claims groups of runs (``work``), what it does with them is ``serving``,
which a spawned one does, too, and ``execution`` executes them: ``preparing`` makes ready for them, with the functions
kept in ``supplies``, ``plain`` is the loop for short ones, ``current`` knows which one executes, ``reporter`` tells the
engine; ``notes`` say when a run has done something that the next one must not find; ``output`` bounds what is written
to stdout and stderr, on both ends of the pipes, which ``counted_output`` counts; ``orphans`` ends what tasks have
started. The engine imports none of it, unless it watches over workers itself.
"""
