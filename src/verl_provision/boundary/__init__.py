"""The one way in for what hosts, registries and mirrors say. Behind it, values have the shape that they should have.

`text` makes text harmless to show, `answer` takes an answer of a module of ours, `schema` compiles the checks of
catalog/schema, `documents` has one check per kind of document. Only the standard library: this runs inside
`ansible-playbook`, where nothing but ansible-core may be assumed, and partly in a process per task and host.
"""
