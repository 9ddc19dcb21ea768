module patchbay

go 1.24
