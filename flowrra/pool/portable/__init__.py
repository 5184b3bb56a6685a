"""Workers that are spawned, with nothing but what every system has: processes, loopback connections, files, threads.

    engine's loop                                                   a worker
    ------------------------------------------------                -----------------------------------------
    Spawned --(Popen: where to connect, and a token)------------->  process.boot
       |                                                                 |
    PortableLink: queue, one group at a time -----------(frames)--->  control thread: inbox, stops
    Hearing: answers <----------------------------------(frames)----  Answers
    Hearing: page <---------------------(a file, mapped)------------  Execution
    Output <----------------------------(pipes, a thread each)------  stdout, stderr

    NamedSlab, NamedSegment: files in a Folder that this process holds a lock of; whoever starts next removes it if not.

The engine hands over one group and keeps the others, so taking them back concerns nobody else. What a frame speaks of
is a file in the folder, by its name. A stop comes through the connection, too: a thread of the worker receives it and
signals the main thread. When the connection ends, the worker does.
"""
