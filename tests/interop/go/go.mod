module example.invalid/piko/interop/peer

go 1.22

require (
	github.com/gorilla/websocket v1.5.3
	github.com/hashicorp/yamux v0.1.2
	github.com/ugorji/go/codec v1.3.1
)
