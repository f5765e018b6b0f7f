"""The command line: verbs, each a few lines over functions of the rooms below, and what a terminal shows.

    main                                  the command, errors as one line, the list of recipes
    experiment_commands, stages           collect, check, train, evaluate; run_commands: run, finetune
    data_, expert_, result_, play_, hub_commands   the other verbs, by what they are about
    verbs, options                        what every verb has (--quiet, --json, --trust), what several share
    console, tables                       output and progress, scores as tables

Nothing imports from here, and nothing is computed here: what a verb does is a function that returns a value.
"""
