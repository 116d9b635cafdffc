"""Statistical process control: is this the process breathing, or has it changed?

    state, points = fold_window(state, window, settings)        the one function the service calls (`fold`)

Windows are merged into subgroups until n is enough (`merger`), judged by charts (`shewhart`, `weighted`, `rare`,
`measured`) with rules (`rules`) against limits estimated once from chosen windows (`phase1`, `baseline`). Every module
is pure: state in, state out, a fixed amount of work per point. `docs/spc.md` says which chart is the default and how
often it calls falsely.
"""
