module example.invalid/piko/sdk

go 1.22
