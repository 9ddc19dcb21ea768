module screening

go 1.24
