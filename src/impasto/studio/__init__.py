"""The studio: a page and an API on the user's own machine.

The server knows the web and SQLite, and neither torch nor Pillow: whatever touches a picture happens in a child process, so
that a damaged file or a native crash costs one job.

::

    app       the application: security around, routes inside, what begins and ends with it
    routes    the routes of /api/v1, a file for each subject
    studio    everything a running studio consists of, put together
    settings  where it is bound, and its limits
    shelf     styles: shipped, named, dropped here
    shapes    what goes in and out, as the OpenAPI page shows it
    controls  the dataclasses of impasto.options as controls of a page
    security  who may call, with how much, and the headers of every answer
    database  SQLite: schema, transactions
    jobs      the queue and the truth about every job
    gallery   uploads and results
    storage   the data folder: names of files, whole or not at all; disk quota
    events    what changed, to whoever listens
    lanes     the parent's side of the child processes; child: one of them
    faults    what the system refuses for a while: which errors those are, and how they are told
    memory    how much memory there is, and how much a worker holds
    worker    the child's side; orders: what it does with pictures; painting_state: how far it is
    server    from the command line to uvicorn
"""
