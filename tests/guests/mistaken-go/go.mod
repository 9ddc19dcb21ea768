module mistaken

go 1.24
