"""The store over HTTP, with the protocol of W&B: ``jupyter resume serve``.

A run that arrives here goes through the same `Writer` into the same record as one that `init` began on this
machine, so there is one kind of run: ``jupyter resume runs`` lists what remote clients wrote, and the pages and
GraphQL show what was recorded locally.

The way of a request: `app` (routes) -> `access` (whose key) -> one of

- `graphql` -> `queries` and `mutations`, whose nodes are `nodes`; the schema is schema.graphql; `history` thins rows,
  and the core's `selection` filters and orders runs
- `posts` -> `streams`: a post to file_stream becomes lines of the record; `positions` finds a line by its number,
  `claims` tells two clients of one run apart
- `uploads` (signed by `tickets`; `archives` are unpacked) and `downloads`
- `pages` (with `curves`): a run, a project, the list of projects

and from there to `hosting`, which knows the runs that this process writes. `serving` opens the port.
"""
