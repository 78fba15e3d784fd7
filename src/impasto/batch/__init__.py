"""Paint many pictures: every combination of contents and styles, or the pairs of a CSV file, with one or several processes.

::

    sources   command-line words -> files and names            work      Item -> Outcome: paints one picture
    pairs     CSV files of pairs                               manifest  manifest.jsonl: finished items
    methods   options and weights of each method               pool      processes that run the work
    plan      items and the names of their results             engine    skips finished items, runs the others
    memory    checks that the workers fit into memory          parcels   items with their photos, for other machines
    cluster   Ray: connect, start and end actors               actors    a pool of actors that may die
    folders   the folder of the results, on this machine       remote    on other file systems: fsspec
    uploads   a pool whose results go to a remote folder       clips     clips painted by actors

An :class:`impasto.batch.work.Item` and an :class:`impasto.batch.work.Outcome` are plain values that can be pickled. Therefore,
a
:class:`impasto.batch.work.Worker` can run in this process, in another process or on another machine.
"""
