"""The hands on the kernel.

Takes: loaded BPF objects, processes, cgroups, namespaces. Gives: events as records, frozen cgroups, captured memory.
Never: decisions.
"""
