module github.com/matrix-org/policyserv

go 1.24
