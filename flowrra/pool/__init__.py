"""A pool of worker processes that a crash, a stop or the end of its owner cannot bring down.

    submitter's thread     engine's loop                                         other processes
    ------------------     -----------------------------------------------      ---------------------------
    calls: call -> bytes   Supervisor --- events ---> Roster (decides, pure)
          |                     ^  <--- orders ------
          v                     |
    EncodedCall, EncodedMap --> |-- Link: queue --(groups of runs)----------->  Worker: claim
          begin, begin_span     |   Link: queue <-(taken back by the engine)     |
                                |-- Link: supplies --(functions, once)------->  Shelf
    Ledger <--- told ---        |                                                v
    AttemptSink, SpanSink       |<- Hearing: answers <--(reports, progress)----  Execution: settle, call, note
                                |<- Hearing: page <---(how far, what is ready)-   |
                                |
                                |-- ZygoteProcess --(fork, preload, quit)---->  Zygote -- forks --> Worker
                                |<----------------- (ended, output, boundary)-  Zygote <- stdout, stderr of workers

    encoding, data         this folder                                           process
    ---------------------------------- transport, native: used on all sides ------------------------------------

The engine begins attempts and spans; the roster names workers; the link puts groups of runs into their queues, after
the function if the worker does not have it yet. A group is what one system call hands over: a run that is not known to
be short, or short ones of one kind that wait together, some milliseconds of work. The engine keeps both ends of each
queue, so it can take groups back by receiving them: the system call decides who has them. Hence at most one group is in
a worker's hands, and its page, memory that both share, tells which run of it executes: only that run is charged when
the worker ends, what ended before it is taken from the page, what is behind it waits again. Answers wait for each other
for some milliseconds, but never for a run that takes long: then the engine fetches them from the page. A worker that
finds its group to take long gives the rest back.

Small values travel in the packet; large ones are in sealed shared memory, each content once (``data``), which a worker
is given before the first packet that speaks of it. Large results come back in a segment of their own, whose descriptor
goes along (``transport.segments``). A worker applies the surroundings of the submission, loads the function, calls it,
answers; what could tell one run of the next is looked at between any two, by system calls only if something was done or
time has passed. To stop a run the engine empties the queue, signals the worker, and kills it if that was not enough;
the spare worker, forked before it was needed, takes its place. The zygote hears all output, keeps it bounded and ends
what workers leave behind. It ends with the engine's process and everything ends with it; if it ends alone, it is
replaced.

In this folder, on the engine's side: ``supervisor`` carries out what ``roster`` decides, in words of ``orders``; the
roster's parts are ``staff``, which workers there are, and ``queues``, what waits for them, in ``groups``, a ``line``
and as far ahead as ``prefetch`` says; ``workforce`` holds the workers themselves and hears of their ends; ``kinds`` and
``ledger`` know which run has which number; ``link`` is the way to one worker, here a ``socket_link``, ``hearing`` what
comes from it,
``shares`` the cores that each worker may keep busy, ``sources`` the user's files that each has imported; ``upkeep``
does what is due now and then; ``zygotes`` are the processes that fork, each a ``zygote_process`` that a ``launch`` has
started: for the first run of all on the submitter's thread, before the engine has loaded what it needs itself;
``outcomes`` and ``endings`` conclude attempts, with ``decoder`` for values whose rebuilding may run the user's code.

All this is one of the two ``ways`` to workers, as the workforce sees them in ``workers``. The other one is
``portable``.
"""
