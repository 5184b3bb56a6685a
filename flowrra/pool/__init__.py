"""A pool of worker processes that a crash, a stop or the end of its owner cannot bring down.

    submitter's thread     engine's loop                                         other processes
    ------------------     -----------------------------------------------      ---------------------------
    calls: call -> bytes   Supervisor --- events ---> Roster (decides, pure)
          |                     ^  <--- orders ------
          v                     |
    EncodedCall -- begin -----> |-- Link: queue --(run headers)-------------->  Worker: claim, settle, call
                                |   Link: queue <-(taken back by the engine)
                                |-- Link: supplies --(functions, once)------->  Shelf
                                |<- Link: answers <--(begun, progress, ended)-  Worker
                                |
                                |-- ZygoteProcess --(fork, preload, quit)---->  Zygote -- forks --> Worker
                                |<----------------- (ended, output, boundary)-  Zygote <- stdout, stderr of workers

    encoding, data         this folder                                           process
    ---------------------------------- transport, native: used on all sides ------------------------------------

The engine begins an attempt; the roster names a worker; the link puts a header into that worker's queue, after the
function if the worker does not have it yet. The engine keeps both ends of each queue, so it can take a header back by
receiving it: the system call decides who has it. Hence at most one run is in a worker's hands, and only that run is
charged when the worker ends. Small values travel in the header; large ones are in sealed shared memory, each content
once (``data``), which a worker is given before the first header that speaks of it. Large results come back in a segment
of their own, whose descriptor goes along (``transport.segments``). A worker applies the surroundings of the submission,
loads the function, calls it, answers. To stop a run the engine empties the queue, signals the worker, and kills it if
that was not enough; the spare worker, forked before it was needed, takes its place. The zygote hears all output, keeps
it bounded and ends what workers leave behind. It ends with the engine's process and everything ends with it; if it ends
alone, it is replaced.

In this folder, on the engine's side: ``supervisor`` carries out what ``roster`` decides, in words of ``orders``;
``link`` is one worker's sockets; ``zygotes`` are the processes that fork, each a ``zygote_process``; ``outcomes`` and
``endings`` conclude attempts, with ``decoder`` for values whose rebuilding may run the user's code.
"""
