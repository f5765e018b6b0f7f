"""How an agent learns from recorded episodes: windows, losses, the optimizer and one loop.

    datasets, mixture, windows            the parts of an experiment, and batches of windows out of them
    losses, augmentation, captions        the three losses; colour jitter; hindsight captions
    loop, forward, optimizer, metrics     the loop on Accelerate, resumable; Muon and AdamW; metrics.jsonl
    first_model, run_folder, distributed  what training starts with; what a run holds; several processes

It reads datasets' headers and never builds an environment: Gymnasium is not imported here.
"""
