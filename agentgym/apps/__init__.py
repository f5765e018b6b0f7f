"""Programs for people and for other processes: the playground, the window and the policy server.

    session                               one environment and the current episode, with or without an agent
    playground, playground_app, window    a session as a local web page; as a window with a keyboard
    policy_server, batching, serve        `predict` for many clients in batches, over WebSocket and HTTP
    server_metrics, listening             what the server counts; a socket and uvicorn

Its packages are extras (`playground`, `play`, `serve`), imported when an app starts.
"""
