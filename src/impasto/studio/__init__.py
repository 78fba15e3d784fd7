"""The studio: a web page and an HTTP API on the user's own machine.

The server imports neither torch nor Pillow. All work on pictures runs in child processes, so a damaged file or a native crash
affects only one job.

::

    app       the application: middleware, routes, error responses, startup and shutdown
    routes    the routes of /api/v1, one file per resource
    studio    all parts of a running studio
    settings  address and limits
    shelf     styles: shipped, named, uploaded
    shapes    request and response models
    controls  the dataclasses of impasto.options as form controls
    security  host, origin and token checks, body limits, response headers
    database  SQLite: schema, transactions
    jobs      job queue and job states
    gallery   uploads and results, disk quota
    storage   the data folder: file names, clean-up, lock
    events    server-sent events
    lanes     the parent side of the child processes; child: one process
    faults    temporary system errors, such as a full disk, and their messages
    memory    memory of the machine and of a worker
    worker    the child side; orders: its operations on pictures; painting_state: progress and checkpoints
    server    start-up: lock, socket, token, uvicorn
"""
